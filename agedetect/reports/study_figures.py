"""The two figures of a study: how its best validation MAE came down, and which settings mattered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from agedetect.reports.style import BLUE, GREEN, INK, figure_style, one_axes


@dataclass(frozen=True)
class Point:
    """A trial's number and validation MAE in years: its result, or where it was pruned."""

    number: int
    mae: float
    pruned: bool


def history(points: Sequence[Point], *, n: int) -> Figure:
    """Every trial's validation MAE, on `n` faces, and the best so far."""
    with figure_style():
        figure, axes = one_axes(6.4, 3.6, f"n = {n:,} validation faces", "trial", "validation MAE (years)")
        done = [point for point in points if not point.pruned]
        pruned = [point for point in points if point.pruned]
        best = np.minimum.accumulate([point.mae for point in done])
        axes.step([point.number for point in done], best, where="post", color=GREEN, label="best so far")
        axes.scatter([point.number for point in done], [point.mae for point in done], s=22, color=BLUE, label="trial")
        if pruned:
            numbers, values = [point.number for point in pruned], [point.mae for point in pruned]
            axes.scatter(numbers, values, s=22, color=INK, marker="x", label="pruned, at its last epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
    return figure


def importance(shares: Mapping[str, float], *, n: int) -> Figure:
    """The share of each setting in the differences between `n` finished trials, largest on top."""
    ordered = sorted(shares.items(), key=lambda item: item[1])
    with figure_style():
        figure, axes = one_axes(6.4, 1.2 + 0.4 * len(ordered), f"n = {n} finished trials", "importance (PED-ANOVA)", "")
        axes.barh([name for name, _ in ordered], [share for _, share in ordered], color=BLUE, height=0.6)
        axes.set(xlim=(0, 1))
        axes.grid(visible=False, axis="y")
    return figure
