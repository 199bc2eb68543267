"""The tables of evaluations and comparisons as text: page, model card and terminal show the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from agedetect.evaluation.bootstrap import IntervalEstimate
from agedetect.evaluation.comparison import Comparison
from agedetect.evaluation.gates import THRESHOLDS
from agedetect.evaluation.result import INTERVAL_FAMILIES, Evaluation, GroupScores
from agedetect.evaluation.sensitivity import CropSensitivity
from agedetect.reports.format import MISSING, as_percent, bounds, decimal, share, years
from agedetect_runtime.table import level_text

SHOWN_MARGINS = (0, 3, 5, 7, 10, 15)  # years between the threshold and the challenge age


class Headline(NamedTuple):
    """One overall figure; `interval` is empty where there is none."""

    name: str
    value: str
    interval: str
    unit: str = ""

    @property
    def text(self) -> str:
        """`4.66 (4.45 to 4.89) years`"""
        interval = f" ({self.interval})" if self.interval else ""
        return f"{self.value}{interval} {self.unit}".rstrip()


class Table(NamedTuple):
    """The first column names the rows."""

    heading: Sequence[str]
    rows: Sequence[Sequence[str]]


def headlines(result: Evaluation) -> list[Headline]:
    """The overall figures, the most important first; every one is of all `result.n` faces."""
    overall, nominal = result.overall, result.context.nominal_coverage
    found = [_years("MAE", overall.mae), _years("MAE of the median baseline", result.median.mae)]
    found += [_share("within ±5 years", overall.within_5), _share("within ±10 years", overall.within_10)]
    found += [_years("bias", overall.bias, signed=True), _years("RMSE", overall.rmse)]
    if overall.r2:
        found.append(Headline("R²", decimal(overall.r2.value, 3), bounds(overall.r2, 3)))
    if overall.coverage and overall.width:
        name = "interval coverage" + (f" (nominal {level_text(nominal)})" if nominal else "")
        found += [_share(name, overall.coverage), _years("mean interval width", overall.width)]
    return found


def _years(name: str, figure: IntervalEstimate, *, signed: bool = False) -> Headline:
    return Headline(name, decimal(figure.value, signed=signed), bounds(figure, signed=signed), "years")


def _share(name: str, figure: IntervalEstimate) -> Headline:
    return Headline(name, f"{figure.value:.1%}", bounds(as_percent(figure), 1))


def group_table(label: str, groups: Sequence[GroupScores], *, full: bool = False) -> Table:
    """A row a group; with `full`, RMSE, the share within ±10 years and the interval of the bias too."""
    heading = [label, "n", "MAE (95% CI)", "bias (95% CI)" if full else "bias", "within ±5 (95% CI)"]
    rows = []
    for group in groups:
        scores = group.scores
        bias = years(scores.bias, signed=True) if full else decimal(scores.bias.value, signed=True)
        row = [group.name, f"{scores.n:,}", years(scores.mae), bias, share(scores.within_5)]
        rows.append([*row, share(scores.within_10), decimal(scores.rmse.value)] if full else row)
    return Table([*heading, "within ±10 (95% CI)", "RMSE"] if full else heading, rows)


def gate_table(result: Evaluation) -> Table:
    """False positive and false negative rates; those of the challenge ages between are in evaluation.json."""
    heading = ("threshold", "challenge age", "FPR (minors passed)", "n", "FPR, last 5 years below", "n")
    rows = []
    for gate in result.gates:
        if gate.challenge - gate.threshold in SHOWN_MARGINS:
            rates = (gate.false_positives, gate.false_positives_near, gate.false_negatives)
            cells = [cell for rate in rates for cell in (share(rate.share), f"{rate.n:,}")]
            rows.append((f"{gate.threshold}", f"{gate.challenge}", *cells))
    return Table((*heading, "FNR (adults challenged)", "n"), rows)


def pass_rate_table(result: Evaluation, thresholds: Sequence[int] = THRESHOLDS) -> Table:
    """A row a threshold and year of true age."""
    rows = [
        (f"{item.threshold}", f"{item.age}", f"{item.passed.n:,}", share(item.passed.share))
        for item in result.pass_rates
        if item.threshold in thresholds
    ]
    return Table(("threshold", "true age", "n", "estimated at the threshold or older (95% CI)"), rows)


def coverage_table(result: Evaluation) -> Table:
    groups = [("all faces", result.overall)]
    groups += [(group.name, group.scores) for family in INTERVAL_FAMILIES for group in result.family(family)]
    rows = [(name, f"{item.n:,}", share(item.coverage), years(item.width, 1)) for name, item in groups]
    return Table(("group", "n", "coverage (95% CI)", "mean width, years (95% CI)"), rows)


def reliability_table(result: Evaluation) -> Table:
    rows = [
        (
            f"{item.threshold}+",
            f"{part.low:.0%} to {part.high:.0%}",
            f"{part.n:,}",
            f"{part.predicted:.1%}",
            share(part.observed),
        )
        for item in result.reliability
        for part in item.bins
    ]
    return Table(("age", "probability", "n", "mean probability", "observed share (95% CI)"), rows)


def brier_table(result: Evaluation) -> Table:
    rows = [
        (f"{item.threshold}+", f"{item.n:,}", f"{item.brier:.4f}", f"{item.brier_of_share:.4f}")
        for item in result.reliability
    ]
    return Table(("age", "n", "Brier score", "Brier score of the base rate"), rows)


def sensitivity_table(found: CropSensitivity) -> Table:
    """Each movement of the same faces, then all at once, at random."""
    shown = {"size": "{:g} times as large", "shift": "shifted by {:.1%} of the side", "turn": "turned by {:g}°"}
    rows = [("as they are", f"{found.n:,}", years(found.mae), MISSING)]
    rows += [
        (shown[step.factor].format(step.amount), f"{found.n:,}", years(step.mae), years(step.growth, signed=True))
        for step in found.steps
    ]
    last = found.random
    rows.append(("all three at random", f"{found.n:,}", years(last.mae), years(last.growth, signed=True)))
    return Table(("faces", "n", "MAE (95% CI)", "growth (95% CI)"), rows)


def comparison_table(result: Comparison) -> Table:
    """B minus A: positive where A, the first model, is better."""
    rows = [
        (
            item.group,
            f"{item.n:,}",
            decimal(item.first_mae),
            decimal(item.second_mae),
            years(item.advantage, signed=True),
            f"{item.p_value:.3f}",
            "yes" if item.significant else "no",
        )
        for item in (result.overall, *result.groups)
    ]
    return Table(("group", "n", "MAE of A", "MAE of B", "B minus A (95% CI)", "p", "significant"), rows)
