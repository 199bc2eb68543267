"""The figures of an evaluation, each with its n."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from agedetect.reports.style import BLUE, GREEN, INK, RED, STYLE, one_axes, to_svg, whiskers, with_n
from agedetect.reports.trust_plots import age_gates, coverage_by_age, reliability_curve

if TYPE_CHECKING:
    from agedetect.evaluation.result import Evaluation


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
    with matplotlib.rc_context(STYLE):
        return {name: to_svg(draw(result)) for name, draw in drawn.items()}


def predicted_against_true(result: Evaluation) -> Figure:
    figure, axes = one_axes(4.9, 4.5, f"n = {result.n:,}", "true age (years)", "estimate (years)")
    true, age = result.predictions.true, result.predictions.age
    top = float(max(true.max(), age.max())) + 2
    axes.fill_between([0, top], [-5, top - 5], [5, top + 5], color=GREEN, alpha=0.2, label="within ±5 years")
    axes.plot([0, top], [0, top], color=INK, linewidth=1)
    axes.scatter(true, age, s=7, alpha=0.4, linewidths=0, color=BLUE, rasterized=True)
    axes.set(xlim=(0, top), ylim=(0, top), aspect="equal")
    axes.legend(loc="upper left")
    return figure


def error_by_age(result: Evaluation) -> Figure:
    """MAE and bias by decade with their intervals, n below each."""
    groups = result.family("age")
    figure, axes = one_axes(7.2, 3.8, f"n = {result.n:,}", "true age (years)", "years")
    places = np.arange(len(groups))
    axes.bar(places, [group.scores.mae.value for group in groups], width=0.7, color=BLUE, alpha=0.55, label="MAE")
    whiskers(axes, places, [group.scores.mae for group in groups], BLUE, "none")
    whiskers(axes, places + 0.12, [group.scores.bias for group in groups], RED, "bias (+: says too old)")
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xticks(places, [with_n(group.name, group.scores.n) for group in groups], fontsize=8)
    axes.legend()
    return figure


def error_by_group(result: Evaluation) -> Figure:
    """MAE by gender and by race, the overall MAE as a line."""
    groups = [*result.family("gender"), *result.family("race")]
    figure, axes = one_axes(7.2, 0.9 + 0.36 * len(groups), f"n = {result.n:,}", "MAE (years), 95% interval", "")
    for place, group in enumerate(groups):
        mae = group.scores.mae
        if mae.low is not None and mae.high is not None:
            axes.plot([mae.low, mae.high], [place, place], color=BLUE, linewidth=2, solid_capstyle="round")
        axes.plot([mae.value], [place], marker="o", color=BLUE)
    axes.axvline(result.overall.mae.value, color=INK, linewidth=1, linestyle="--", label="all faces")
    axes.set_yticks(range(len(groups)), [f"{group.name}  n={group.scores.n:,}" for group in groups])
    axes.invert_yaxis()
    axes.legend(loc="best")
    return figure


def cumulative_score(result: Evaluation) -> Figure:
    figure, axes = one_axes(4.9, 4.5, f"n = {result.n:,}", "error of at most so many years", "share of the faces (%)")
    error = np.abs(result.predictions.true - result.median.age)
    limits = [limit for limit, _ in result.curve]
    axes.plot(limits, [100 * share for _, share in result.curve], color=BLUE, linewidth=2, label="model")
    median = [100 * float(np.mean(error <= limit)) for limit in limits]
    axes.plot(limits, median, color=INK, linestyle="--", label=f"always {result.median.age:g} years")
    axes.set(xlim=(0, limits[-1]), ylim=(0, 100))
    axes.legend(loc="lower right")
    return figure
