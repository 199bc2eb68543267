"""The learning curves of a run."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from agedetect.reports.style import BLUE, GREEN, INK, RED, figure_style
from agedetect.tracking.checkpoints import Epoch


def curves(epochs: Sequence[Epoch]) -> Figure:
    """Both losses, validation MAE and validation accuracy against the epoch; the head phase is shaded."""
    numbers = [epoch.number for epoch in epochs]
    head = [epoch.number for epoch in epochs if epoch.part == "head"]
    with figure_style():
        figure = Figure(figsize=(12, 3.6), layout="constrained")
        left, middle, right = figure.subplots(1, 3)
        lines = [
            (left, [epoch.train_loss for epoch in epochs], BLUE, "training"),
            (left, [epoch.validation_loss for epoch in epochs], RED, "validation"),
            (middle, [epoch.metrics.mae for epoch in epochs], RED, "validation"),
            (right, [100 * epoch.metrics.within_5 for epoch in epochs], BLUE, "within ±5 years"),
            (right, [100 * epoch.metrics.within_10 for epoch in epochs], GREEN, "within ±10 years"),
        ]
        for axes, values, colour, label in lines:
            axes.plot(numbers, values, marker="o", color=colour, label=label)
        left.set(title="loss", xlabel="epoch", yscale="log")
        middle.set(title="validation MAE (years)", xlabel="epoch")
        right.set(title="validation accuracy (%)", xlabel="epoch", ylim=(0, 100))
        for axes in (left, middle, right):
            axes.xaxis.get_major_locator().set_params(integer=True)
            if head:
                axes.axvspan(0.5, head[-1] + 0.5, color=INK, alpha=0.15, label="head phase")
            axes.legend()
    return figure
