"""The figures of an evaluation that are about trust, each with its n: gates, coverage, probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from agedetect.evaluation.gates import NEAR_YEARS, Share
from agedetect.evaluation.result import Evaluation
from agedetect.evaluation.sensitivity import CropSensitivity
from agedetect.reports.format import as_percent
from agedetect.reports.style import BLUE, INK, OF_THRESHOLD, one_axes, whiskers, with_n

_FEWEST_DRAWN = 10  # with fewer, the interval of the share would fill the figure; the table has them all


def age_gates(result: Evaluation) -> Figure:
    """Both error rates against the challenge age, a line a threshold, intervals shaded."""
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    for threshold in OF_THRESHOLD:
        gates = [gate for gate in result.gates if gate.threshold == threshold]
        ages = [gate.challenge for gate in gates]
        for axes, shares in (
            (left, [gate.false_positives for gate in gates]),
            (right, [gate.false_negatives for gate in gates]),
        ):
            _draw_shares(axes, threshold, ages, shares, f"{threshold} (n={shares[0].n:,})")
    left.set(title="false positive rate (minors passed)", xlabel="challenge age (years)", ylabel="%")
    right.set(title="false negative rate (adults challenged)", xlabel="challenge age (years)", ylabel="%")
    for axes in (left, right):
        axes.set_ylim(bottom=0)
        if axes.lines:
            axes.legend(title="threshold", fontsize=8.5)
    return figure


def pass_rates_by_age(result: Evaluation) -> Figure:
    """The share estimated at the threshold or older by year of true age, a line a threshold, intervals shaded."""
    title = f"n = {result.n:,}; in the legend: those within {NEAR_YEARS} years"
    figure, axes = one_axes(7.2, 3.9, title, "true age (years)", "estimated at the threshold or older (%)")
    for threshold in OF_THRESHOLD:
        rates = [rate for rate in result.pass_rates if rate.threshold == threshold]
        ages, shares = [rate.age for rate in rates], [rate.passed for rate in rates]
        _draw_shares(axes, threshold, ages, shares, f"{threshold} (n={sum(item.n for item in shares):,})")
    axes.set_ylim(0, 101)
    if axes.lines:
        axes.legend(title="threshold", fontsize=8.5)
    return figure


def _draw_shares(axes: Axes, threshold: int, ages: Sequence[int], shares: Sequence[Share], label: str) -> None:
    """A share of nobody is not drawn."""
    known = [(age, item.share) for age, item in zip(ages, shares, strict=True) if item.share]
    if not known:
        return
    places, colour = [age for age, _ in known], OF_THRESHOLD[threshold]
    axes.plot(places, [100 * share.value for _, share in known], color=colour, label=label, linewidth=1.8)
    low, high = ([100 * (end or 0.0) for end in ends] for ends in zip(*(share[1:] for _, share in known), strict=True))
    axes.fill_between(places, low, high, color=colour, alpha=0.12, linewidth=0)


def coverage_by_age(result: Evaluation) -> Figure:
    """The share of true ages inside their interval, by decade; the nominal coverage as a line."""
    groups = [group for group in result.family("age") if group.scores.coverage and group.scores.n >= _FEWEST_DRAWN]
    title = f"n = {result.n:,}; decades with at least {_FEWEST_DRAWN} faces"
    figure, axes = one_axes(7.2, 3.4, title, "true age (years)", "coverage (%)")
    places = np.arange(len(groups))
    coverage = [as_percent(group.scores.coverage) for group in groups if group.scores.coverage]
    whiskers(axes, places, coverage, label="measured, 95% CI")
    if result.context.nominal_coverage is not None:
        axes.axhline(100 * result.context.nominal_coverage, color=INK, linestyle="--", linewidth=1, label="nominal")
    axes.set_ylim(top=101)
    axes.set_xticks(places, [with_n(group.name, group.scores.n) for group in groups], fontsize=8)
    axes.legend(loc="lower left")
    return figure


def reliability_curve(result: Evaluation) -> Figure:
    figure, axes = one_axes(
        5.2, 5.0, f"n = {result.n:,}; larger points: more faces", "predicted probability (%)", "observed share (%)"
    )
    axes.plot([0, 100], [0, 100], color=INK, linewidth=1)
    for item in result.reliability:
        predicted = [100 * part.predicted for part in item.bins]
        observed = [100 * part.observed.value for part in item.bins]
        sizes = [4 + 80 * (part.n / item.n) ** 0.5 for part in item.bins]
        colour = OF_THRESHOLD[item.threshold]
        axes.plot(predicted, observed, color=colour, linewidth=0.8)
        axes.scatter(predicted, observed, s=sizes, color=colour, linewidths=0, label=f"{item.threshold} or more")
    axes.set(xlim=(-3, 103), ylim=(-3, 103), aspect="equal")
    axes.legend(loc="upper left")
    return figure


def crop_sensitivity(found: CropSensitivity) -> Figure:
    """MAE against the size, the shift and the turn of the same faces, intervals shaded; unmoved ones are the line."""
    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    _draw_factor(panels[0], found, "size", "size of the face (times)", 1)
    _draw_factor(panels[1], found, "shift", "shift (share of the side)", 0)
    _draw_factor(panels[2], found, "turn", "turn (degrees)", 0)
    panels[0].set_ylabel("MAE (years), 95% CI")
    panels[2].set_title(f"n = {found.n:,}", fontsize=10, loc="right")
    return figure


def _draw_factor(axes: Axes, found: CropSensitivity, factor: str, label: str, unmoved: float) -> None:
    steps = [(step.amount, step.mae) for step in found.steps if step.factor == factor]
    amounts, errors = zip(*sorted([*steps, (unmoved, found.mae)]), strict=True)
    axes.plot(amounts, [mae.value for mae in errors], color=BLUE, marker="o", markersize=4, linewidth=1.8)
    low, high = zip(*(mae[1:] for mae in errors), strict=True)
    if None not in low:  # one face has no interval
        axes.fill_between(amounts, low, high, color=BLUE, alpha=0.15, linewidth=0)
    axes.axhline(found.mae.value, color=INK, linestyle="--", linewidth=1)
    axes.set_xlabel(label)
