"""How every figure looks: transparent and in mid-tones, so that it reads on white and on black."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from agedetect.evaluation.bootstrap import IntervalEstimate
from agedetect.evaluation.gates import THRESHOLDS

INK = "#7b8794"
BLUE, RED, GREEN = "#3d7fc1", "#d2574a", "#3f9c6b"
OF_THRESHOLD = dict(zip(THRESHOLDS, ("#8e6bbf", "#3d7fc1", "#d2574a", "#3f9c6b", "#c9862b"), strict=True))
_STYLE: dict[Any, Any] = {  # Any: Matplotlib types the keys as a literal
    "svg.hashsalt": "agedetect",  # else the same figure has other ids each time
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color", "grid.color"), INK),
    "grid.alpha": 0.25,
    "axes.grid": True,
    "axes.axisbelow": True,
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("axes.facecolor", "figure.facecolor"), "none"),
    "font.size": 10,
}


def figure_style() -> AbstractContextManager[None]:
    """`with figure_style():` around drawing and saving gives a figure the look of all others."""
    return matplotlib.rc_context(_STYLE)


def one_axes(width: float, height: float, title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """A figure of that size in inches, its title small and at the right."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y)
    axes.set_title(title, fontsize=10, loc="right")
    return figure, axes


def whiskers(
    axes: Axes,
    places: ArrayLike,
    figures: Sequence[IntervalEstimate],
    *,
    colour: str = BLUE,
    marker: str = "o",
    label: str | None = None,
    sideways: bool = False,
) -> None:
    """Points with their intervals, upright or `sideways`; the marker "none" leaves the intervals alone."""
    values, at = np.array([item.value for item in figures]), np.asarray(places)
    below = [0.0 if item.low is None else item.value - item.low for item in figures]
    above = [0.0 if item.high is None else item.high - item.value for item in figures]
    # a percentile interval may miss its figure by a hair, and Matplotlib takes no negative length
    spread = np.maximum(np.array([below, above]), 0)
    x, y, xerr, yerr = (values, at, spread, None) if sideways else (at, values, None, spread)
    axes.errorbar(x, y, yerr, xerr, fmt=marker, color=colour, label=label, markersize=4, capsize=2, lw=1.4)


def with_n(name: str, n: int) -> str:
    return f"{name}\nn={n:,}"


def to_svg(figure: Figure) -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg", dpi=160, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return file.getvalue()


def to_jpeg(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="jpg", dpi=110, facecolor="white", pil_kwargs={"quality": 85})
    return file.getvalue()
