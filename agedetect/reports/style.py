"""How the figures of an evaluation look: transparent and in mid-tones, so that they read on white and on black."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from agedetect.evaluation.bootstrap import IntervalEstimate
from agedetect.evaluation.gates import THRESHOLDS

INK = "#7b8794"
BLUE, RED, GREEN = "#3d7fc1", "#d2574a", "#3f9c6b"
OF_THRESHOLD = dict(zip(THRESHOLDS, ("#8e6bbf", "#3d7fc1", "#d2574a", "#3f9c6b", "#c9862b"), strict=True))
STYLE: dict[Any, Any] = {  # Any: Matplotlib types the keys as a literal
    "svg.hashsalt": "agedetect",  # else the same figure has other ids each time
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.25,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.frameon": False,
    "font.size": 10,
}


def one_axes(width: float, height: float, title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y)
    axes.set_title(title, fontsize=10, loc="right")
    return figure, axes


def whiskers(axes: Axes, places: NDArray[Any], figures: Sequence[IntervalEstimate], colour: str, label: str) -> None:
    values = np.array([item.value for item in figures])
    below = [0.0 if item.low is None else item.value - item.low for item in figures]
    above = [0.0 if item.high is None else item.high - item.value for item in figures]
    marker = "none" if label == "none" else "o"
    legend = "_nolegend_" if label == "none" else label
    # a percentile interval may leave its figure out by a hair, and Matplotlib takes no negative length
    spread = np.maximum(np.array([below, above]), 0)
    axes.errorbar(places, values, yerr=spread, fmt=marker, color=colour, markersize=4, capsize=2, lw=1.4, label=legend)


def to_svg(figure: Figure) -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg", dpi=160, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return file.getvalue()


def with_n(name: str, n: int) -> str:
    return f"{name}\nn={n:,}"
