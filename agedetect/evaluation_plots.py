"""The figures of an evaluation, each with its n. Transparent and in mid-tones: they read on white and on black."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from agedetect.bootstrap import Bounded
from agedetect.gates import THRESHOLDS

if TYPE_CHECKING:
    from agedetect.evaluation import Evaluation, GroupScores

_INK = "#7b8794"
_BLUE, _RED, _GREEN = "#3d7fc1", "#d2574a", "#3f9c6b"
_OF_THRESHOLD = dict(zip(THRESHOLDS, ("#8e6bbf", "#3d7fc1", "#d2574a", "#3f9c6b", "#c9862b"), strict=True))
_STYLE: dict[Any, Any] = {  # Any: Matplotlib types the keys as a literal
    "svg.hashsalt": "agedetect",  # else the same figure has other ids each time
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _INK,
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


def figures(result: Evaluation) -> dict[str, str]:
    """Name -> SVG text. Those of intervals and of probabilities are there where the model gives such."""
    drawn: dict[str, Callable[[Evaluation], Figure]] = {
        "predicted_against_true": predicted_against_true,
        "error_by_age": error_by_age,
        "error_by_group": error_by_group,
        "cumulative_score": cumulative_score,
        "age_gates": age_gates,
    }
    if result.overall.coverage:
        drawn["coverage_by_age"] = coverage_by_age
    if result.reliability:
        drawn["reliability"] = reliability_curve
    with matplotlib.rc_context(_STYLE):
        return {name: _svg(draw(result)) for name, draw in drawn.items()}


def predicted_against_true(result: Evaluation) -> Figure:
    figure, axes = _one(4.9, 4.5, f"n = {result.n:,}", "true age (years)", "estimate (years)")
    true, age = result.predictions.true, result.predictions.age
    top = float(max(true.max(), age.max())) + 2
    axes.fill_between([0, top], [-5, top - 5], [5, top + 5], color=_GREEN, alpha=0.2, label="within ±5 years")
    axes.plot([0, top], [0, top], color=_INK, linewidth=1)
    axes.scatter(true, age, s=7, alpha=0.4, linewidths=0, color=_BLUE, rasterized=True)
    axes.set(xlim=(0, top), ylim=(0, top), aspect="equal")
    axes.legend(loc="upper left")
    return figure


def error_by_age(result: Evaluation) -> Figure:
    """MAE and bias by decade with their intervals, n below each."""
    groups = result.family("age")
    figure, axes = _one(7.2, 3.8, f"n = {result.n:,}", "true age (years)", "years")
    places = np.arange(len(groups))
    axes.bar(places, [group.scores.mae.value for group in groups], width=0.7, color=_BLUE, alpha=0.55, label="MAE")
    _whiskers(axes, places, [group.scores.mae for group in groups], _BLUE, "none")
    _whiskers(axes, places + 0.12, [group.scores.bias for group in groups], _RED, "bias (+: says too old)")
    axes.axhline(0, color=_INK, linewidth=0.8)
    axes.set_xticks(places, [_with_n(group) for group in groups], fontsize=8)
    axes.legend()
    return figure


def error_by_group(result: Evaluation) -> Figure:
    """MAE by gender and by race, the overall MAE as a line."""
    groups = [*result.family("gender"), *result.family("race")]
    figure, axes = _one(7.2, 0.9 + 0.36 * len(groups), f"n = {result.n:,}", "MAE (years), 95% interval", "")
    for place, group in enumerate(groups):
        mae = group.scores.mae
        if mae.low is not None and mae.high is not None:
            axes.plot([mae.low, mae.high], [place, place], color=_BLUE, linewidth=2, solid_capstyle="round")
        axes.plot([mae.value], [place], marker="o", color=_BLUE)
    axes.axvline(result.overall.mae.value, color=_INK, linewidth=1, linestyle="--", label="all faces")
    axes.set_yticks(range(len(groups)), [f"{group.name}  n={group.scores.n:,}" for group in groups])
    axes.invert_yaxis()
    axes.legend(loc="best")
    return figure


def cumulative_score(result: Evaluation) -> Figure:
    figure, axes = _one(4.9, 4.5, f"n = {result.n:,}", "error of at most so many years", "share of the faces (%)")
    error = np.abs(result.predictions.true - result.median.age)
    limits = [limit for limit, _ in result.curve]
    axes.plot(limits, [100 * share for _, share in result.curve], color=_BLUE, linewidth=2, label="model")
    median = [100 * float(np.mean(error <= limit)) for limit in limits]
    axes.plot(limits, median, color=_INK, linestyle="--", label=f"always {result.median.age:g} years")
    axes.set(xlim=(0, limits[-1]), ylim=(0, 100))
    axes.legend(loc="lower right")
    return figure


def age_gates(result: Evaluation) -> Figure:
    """Both errors against the challenge age, a line a threshold, intervals shaded."""
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    for threshold, colour in _OF_THRESHOLD.items():
        gates = [gate for gate in result.gates if gate.threshold == threshold]
        for axes, shares in ((left, [g.accepted for g in gates]), (right, [g.rejected for g in gates])):
            known = [(g.challenge, s) for g, s in zip(gates, (item.share for item in shares), strict=True) if s]
            if not known:
                continue
            ages = [challenge for challenge, _ in known]
            label = f"{threshold} (n={shares[0].n:,})"
            axes.plot(ages, [100 * s.value for _, s in known], color=colour, label=label, linewidth=1.8)
            low, high = ([100 * (end or 0.0) for end in ends] for ends in zip(*(s[1:] for _, s in known), strict=True))
            axes.fill_between(ages, low, high, color=colour, alpha=0.12, linewidth=0)
    left.set(title="younger, let through", xlabel="challenge age (years)", ylabel="%")
    right.set(title="old enough, turned away", xlabel="challenge age (years)", ylabel="%")
    for axes in (left, right):
        axes.set_ylim(bottom=0)
        if axes.lines:
            axes.legend(title="threshold", fontsize=8.5)
    return figure


def coverage_by_age(result: Evaluation) -> Figure:
    """The share of the ages that lie in their interval, by decade; the promised level as a line."""
    groups = [group for group in result.family("age") if group.scores.coverage]
    figure, axes = _one(7.2, 3.4, f"n = {result.n:,}", "true age (years)", "ages in their interval (%)")
    places = np.arange(len(groups))
    coverage = [_percent(group.scores.coverage) for group in groups if group.scores.coverage]
    _whiskers(axes, places, coverage, _BLUE, "measured, 95% interval")
    if result.subject.level is not None:
        axes.axhline(100 * result.subject.level, color=_INK, linestyle="--", linewidth=1, label="promised")
    axes.set_ylim(top=101)
    axes.set_xticks(places, [_with_n(group) for group in groups], fontsize=8)
    axes.legend(loc="lower left")
    return figure


def reliability_curve(result: Evaluation) -> Figure:
    title = "probability of being so old, against how many are"
    figure, axes = _one(5.2, 5.0, f"{title}; n = {result.n:,}", "the model's probability (%)", "share that is (%)")
    axes.plot([0, 100], [0, 100], color=_INK, linewidth=1)
    for item in result.reliability:
        bins = [(100 * part.predicted, 100 * part.observed.value) for part in item.bins]
        colour = _OF_THRESHOLD[item.threshold]
        axes.plot(*zip(*bins, strict=True), marker="o", markersize=4, color=colour, label=f"{item.threshold} or more")
    axes.set(xlim=(0, 100), ylim=(0, 100), aspect="equal")
    axes.legend(loc="upper left")
    return figure


def _one(width: float, height: float, title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y)
    axes.set_title(title, fontsize=10, loc="right")
    return figure, axes


def _whiskers(axes: Axes, places: NDArray[Any], figures: Sequence[Bounded], colour: str, label: str) -> None:
    values = np.array([item.value for item in figures])
    below = [0.0 if item.low is None else item.value - item.low for item in figures]
    above = [0.0 if item.high is None else item.high - item.value for item in figures]
    marker = "none" if label == "none" else "o"
    legend = "_nolegend_" if label == "none" else label
    # a percentile interval may leave its figure out by a hair, and Matplotlib takes no negative length
    spread = np.maximum(np.array([below, above]), 0)
    axes.errorbar(places, values, yerr=spread, fmt=marker, color=colour, markersize=4, capsize=2, lw=1.4, label=legend)


def _percent(figure: Bounded) -> Bounded:
    low, high = (None if end is None else 100 * end for end in (figure.low, figure.high))
    return Bounded(100 * figure.value, low, high)


def _with_n(group: GroupScores) -> str:
    return f"{group.name}\nn={group.scores.n:,}"


def _svg(figure: Figure) -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg", dpi=160, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return file.getvalue()
