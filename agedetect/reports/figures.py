"""The figures of an evaluation that are about its errors, each with its n; those about trust are in trust_figures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from agedetect.evaluation.bootstrap import IntervalEstimate
from agedetect.evaluation.comparison import Comparison
from agedetect.evaluation.result import CURVE_YEARS, Evaluation
from agedetect.reports.style import BLUE, GREEN, INK, RED, figure_style, one_axes, to_svg, whiskers, with_n
from agedetect.reports.thumbnails import WorstFace
from agedetect.reports.trust_figures import (
    age_gates,
    coverage_by_age,
    crop_sensitivity,
    pass_rates_by_age,
    reliability_curve,
)


def figures(result: Evaluation, only: Collection[str] = ()) -> dict[str, str]:
    """Name -> SVG text, of all figures or of `only` some.

    Those of intervals and of probabilities are there where the model gives such, that of moved faces where some were.
    """
    drawn: dict[str, Callable[[Evaluation], Figure]] = {
        "predicted_against_true": predicted_against_true,
        "cumulative_score": cumulative_score,
        "error_by_age": error_by_age,
        "residuals": residuals,
        "error_by_group": error_by_group,
        "age_gates": age_gates,
        "pass_rates": pass_rates_by_age,
    }
    if result.overall.coverage:
        drawn["coverage_by_age"] = coverage_by_age
    if result.reliability:
        drawn["reliability"] = reliability_curve
    if sensitivity := result.sensitivity:
        drawn["crop_sensitivity"] = lambda _: crop_sensitivity(sensitivity)
    with figure_style():
        return {name: to_svg(draw(result)) for name, draw in drawn.items() if not only or name in only}


def predicted_against_true(result: Evaluation) -> Figure:
    figure, axes = one_axes(4.9, 4.5, f"n = {result.n:,}", "true age (years)", "predicted age (years)")
    true, age = result.predictions.true, result.predictions.age
    top = float(max(true.max(), age.max())) + 2
    axes.fill_between([0, top], [-5, top - 5], [5, top + 5], color=GREEN, alpha=0.2, label="within ±5 years")
    axes.plot([0, top], [0, top], color=INK, linewidth=1)
    axes.scatter(true, age, s=7, alpha=0.4, linewidths=0, color=BLUE, rasterized=True)
    axes.set(xlim=(0, top), ylim=(0, top), aspect="equal")
    axes.legend(loc="upper left")
    return figure


def cumulative_score(result: Evaluation) -> Figure:
    figure, axes = one_axes(4.9, 4.5, f"n = {result.n:,}", "absolute error of at most (years)", "share of faces (%)")
    error = np.abs(result.predictions.true - result.median.age)
    limits = [limit for limit, _ in result.curve]
    axes.plot(limits, [100 * share for _, share in result.curve], color=BLUE, linewidth=2, label="model")
    median = [100 * float(np.mean(error <= limit)) for limit in limits]
    axes.plot(limits, median, color=INK, linestyle="--", label=f"always {result.median.age:g} years")
    axes.set(xlim=(0, limits[-1]), ylim=(0, 100), xticks=range(0, CURVE_YEARS + 1, 5))
    axes.legend(loc="lower right")
    return figure


def error_by_age(result: Evaluation) -> Figure:
    """MAE and bias by decade with their intervals, n below each."""
    groups = result.family("age")
    figure, axes = one_axes(7.2, 3.8, f"n = {result.n:,}", "true age (years)", "years")
    places = np.arange(len(groups))
    axes.bar(places, [group.scores.mae.value for group in groups], width=0.7, color=BLUE, alpha=0.55, label="MAE")
    whiskers(axes, places, [group.scores.mae for group in groups], marker="none")
    biases = [group.scores.bias for group in groups]
    whiskers(axes, places + 0.12, biases, colour=RED, label="bias (positive: overestimates)")
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xticks(places, [with_n(group.name, group.scores.n) for group in groups], fontsize=8)
    axes.legend()
    return figure


def residuals(result: Evaluation) -> Figure:
    """A histogram of the signed errors, a bar a year; every face is in it."""
    figure, axes = one_axes(7.2, 3.2, f"n = {result.n:,}", "predicted minus true age (years)", "faces")
    error = result.predictions.error
    width = max(20.0, float(np.ceil(np.abs(error).max())))
    axes.hist(error, bins=np.arange(-width, width + 1).tolist(), color=BLUE, alpha=0.75)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.axvline(float(error.mean()), color=RED, linewidth=1.4, label=f"mean {error.mean():+.2f}")
    axes.legend()
    return figure


def error_by_group(result: Evaluation) -> Figure:
    """MAE by gender and by race, the overall MAE as a line."""
    groups = [*result.family("gender"), *result.family("race")]
    rows = [(group.name, group.scores.n, group.scores.mae) for group in groups]
    figure, axes = _one_row_each(rows, result.n, "MAE (years), 95% CI")
    axes.axvline(result.overall.mae.value, color=INK, linewidth=1, linestyle="--", label="all faces")
    axes.legend(loc="best")
    return figure


def advantage_by_group(result: Comparison) -> str:
    """SVG text: the difference between two models' MAE, overall and by group."""
    rows = [(item.group, item.n, item.advantage) for item in (result.overall, *result.groups)]
    with figure_style():
        figure, axes = _one_row_each(rows, result.overall.n, "MAE of B minus MAE of A (years), 95% CI")
        axes.axvline(0, color=INK, linewidth=1)
        return to_svg(figure)


def _one_row_each(rows: Sequence[tuple[str, int, IntervalEstimate]], n: int, label: str) -> tuple[Figure, Axes]:
    """A row from top to bottom for each name, n and estimate."""
    figure, axes = one_axes(7.2, 0.9 + 0.34 * len(rows), f"n = {n:,}", label, "")
    whiskers(axes, range(len(rows)), [estimate for _, _, estimate in rows], sideways=True)
    axes.set_yticks(range(len(rows)), [f"{name}  n={count:,}" for name, count, _ in rows])
    axes.invert_yaxis()
    return figure, axes


def contact_sheet(faces: Sequence[WorstFace]) -> Figure:
    """The faces in reading order, eight a row, with predicted age and label."""
    columns, rows = 8, -(-len(faces) // 8)
    figure = Figure(figsize=(1.5 * columns, 1.75 * rows), layout="constrained")
    for axes, face in zip(figure.subplots(rows, columns, squeeze=False).flat, faces, strict=False):
        axes.imshow(face.thumbnail)
        axes.set_title(face.caption, fontsize=8)
    for axes in figure.axes:
        axes.set_axis_off()
    return figure
