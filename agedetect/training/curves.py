"""The learning curves of a run."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from agedetect.tracking.checkpoints import Epoch


def curves(epochs: Sequence[Epoch]) -> Figure:
    """Both losses, validation MAE and validation accuracy against the epoch; the head phase is shaded."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    numbers = [epoch.number for epoch in epochs]
    left.plot(numbers, [epoch.train_loss for epoch in epochs], marker="o", label="training")
    left.plot(numbers, [epoch.validation_loss for epoch in epochs], marker="o", label="validation")
    left.set(title="loss", xlabel="epoch", yscale="log")
    left.legend()
    middle.plot(numbers, [epoch.metrics.mae for epoch in epochs], marker="o", color="tab:red")
    middle.set(title="validation MAE (years)", xlabel="epoch")
    right.plot(numbers, [100 * epoch.metrics.within_5 for epoch in epochs], marker="o", label="within ±5 years")
    right.plot(numbers, [100 * epoch.metrics.within_10 for epoch in epochs], marker="o", label="within ±10 years")
    right.set(title="validation accuracy (%)", xlabel="epoch", ylim=(0, 100))
    right.legend(loc="lower right")
    head = [epoch.number for epoch in epochs if epoch.part == "head"]
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if head:
            axes.axvspan(0.5, head[-1] + 0.5, color="tab:gray", alpha=0.15, label="backbone frozen")
    return figure
