"""An evaluation as text for a terminal, and the ways in which its figures are written everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agedetect.evaluation.bootstrap import IntervalEstimate
from agedetect_runtime.table import level_text, printable

if TYPE_CHECKING:
    from agedetect.evaluation.comparison import Comparison
    from agedetect.evaluation.gates import Share
    from agedetect.evaluation.leakage import Leakage
    from agedetect.evaluation.result import Evaluation, GroupScores

_HEADING = ("", "n", "MAE (95% interval)", "bias", "within ±5")
SHOWN_MARGINS = (0, 3, 5, 7, 10, 15)  # years between the threshold and the challenge age


def format_evaluation(result: Evaluation) -> str:
    """The overall figures, then by decade, gender and race; intersections, gates and curves are in the files."""
    overall = result.overall
    lines = [
        f"{printable(result.context.model)} on {printable(result.context.data)}",
        f"{result.n:,} faces: {result.context.why}",
        *([f"{result.context.skipped:,} files gave no face"] if result.context.skipped else []),
        "",
        f"MAE        {years(overall.mae)} years   (always answering {result.median.age:g}, the median of the "
        f"{result.median.of}: {years(result.median.mae)})",
        f"bias       {years(overall.bias, signed=True)} years",
        f"RMSE       {years(overall.rmse)} years",
        f"R2         {'-' if overall.r2 is None else years(overall.r2, digits=3)}",
        f"within ±5  {share(overall.within_5)}",
        f"within ±10 {share(overall.within_10)}",
    ]
    if overall.coverage and overall.width:
        level = (
            ""
            if result.context.nominal_coverage is None
            else f", {level_text(result.context.nominal_coverage)} promised"
        )
        lines.append(f"intervals  {share(overall.coverage)} hold the age{level}; {years(overall.width)} years wide")
    for family in ("age", "gender", "race"):
        lines += ["", f"by {family}", *_rows(result.family(family))]
    lines += ["", *_gates(result)]
    if result.leakage:
        lines += ["", leakage_sentence(result.leakage)]
    return "\n".join([*lines, "", omitted_sentence(result)])


def years(figure: IntervalEstimate, *, digits: int = 2, signed: bool = False) -> str:
    """`4.85 (4.63 to 5.07)`"""

    def text(value: float) -> str:
        return decimal(value, digits, signed=signed)

    if figure.low is None or figure.high is None:
        return text(figure.value)
    return f"{text(figure.value)} ({text(figure.low)} to {text(figure.high)})"


def decimal(value: float, digits: int = 2, *, signed: bool = False) -> str:
    """Without "-0.00"."""
    return f"{round(value, digits) + 0.0:{'+' if signed else ''}.{digits}f}"


def share(figure: IntervalEstimate | None) -> str:
    """`64.3% (62.1 to 66.5)`"""
    if figure is None:
        return "-"
    ends = "" if figure.low is None or figure.high is None else f" ({100 * figure.low:.1f} to {100 * figure.high:.1f})"
    return f"{figure.value:.1%}{ends}"


def omitted_sentence(result: Evaluation) -> str:
    cells = [f"{count:,} of {family}" for family, count in result.omitted.items() if count]
    listed = ", ".join(cells) or "none"
    return f"Cells of intersections with fewer than {result.fewest} faces, left out: {listed}."


def leakage_sentence(leakage: Leakage) -> str:
    """The count, and the MAE that it would have made."""
    if not leakage.most:
        nothing = "would have had a pixel-identical copy in training"
        return f"Split file by file, none of {leakage.test_files:,} test files {nothing}."
    text = (
        f"Split file by file, {leakage.leaked:.1f} of {leakage.test_files:,} test files would have had a "
        f"pixel-identical copy in training ({leakage.least} to {leakage.most} over {leakage.seeds} random splits)"
    )
    if not (leakage.mae and leakage.clean_mae and leakage.duplicates_mae and leakage.gain):
        return f"{text}. No copy was trained on, so what that would have hidden can't be said."
    return (
        f"{text}, and the MAE would have been {leakage.mae.value:.2f} instead of {leakage.clean_mae.value:.2f} years, "
        f"{years(leakage.gain)} less, at most: the model has an error of {years(leakage.duplicates_mae)} years on the "
        f"{leakage.duplicates:,} training files that have a copy in training."
    )


def counted(share_of: Share) -> str:
    """`3.1% (1.9 to 5.0), n=480`"""
    return f"{share(share_of.share)}, n={share_of.n:,}"


def _rows(groups: Sequence[GroupScores]) -> list[str]:
    table = [_HEADING, *(_row(group) for group in groups)]
    widths = [max(len(row[column]) for row in table) for column in range(len(_HEADING))]
    return [
        "  "
        + "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in table
    ]


def _row(group: GroupScores) -> tuple[str, ...]:
    scores = group.scores
    return (
        group.name,
        f"{scores.n:,}",
        years(scores.mae),
        decimal(scores.bias.value, signed=True),
        f"{scores.within_5.value:.1%}",
    )


def _gates(result: Evaluation) -> list[str]:
    lines = ["age gates: false positive rate (minors passed), false negative rate (adults challenged)"]
    for gate in result.gates:
        if gate.challenge - gate.threshold in (0, 7):
            lines.append(
                f"  threshold {gate.threshold}, challenge {gate.challenge}: "
                f"minors passed {counted(gate.false_positives)}; adults challenged {counted(gate.false_negatives)}"
            )
    return lines


def verdict(result: Comparison) -> str:
    """`A is better by 0.21 years (0.08 to 0.34)`, or `no difference shown: ...`."""
    advantage = result.overall.advantage
    n = f"n={result.overall.n:,}"
    if not result.overall.significant:
        return f"no difference shown: {result.second} minus {result.first} {years(advantage, signed=True)} years, {n}"
    better = result.first if advantage.value > 0 else result.second
    low, high = sorted(abs(end) for end in (advantage.low, advantage.high) if end is not None)
    return f"{better} is better by {abs(advantage.value):.2f} years ({low:.2f} to {high:.2f}), {n}"


def format_comparison(result: Comparison) -> str:
    """The verdict, then a line a group, those with a significant difference marked."""
    rows = [
        f"  {item.group:<15} {item.n:>7,}  {item.first_mae:6.2f}  {item.second_mae:6.2f}  "
        + (f"{item.advantage.low:+6.2f} to {item.advantage.high:+.2f}" if item.advantage.low is not None else "-")
        + (" *" if item.significant else "")
        for item in (result.overall, *result.groups)
    ]
    return "\n".join(
        [
            f"A: {result.first}",
            f"B: {result.second}",
            f"{result.overall.n:,} faces: {result.why}",
            "",
            verdict(result),
            "",
            "                        n   MAE A   MAE B  B minus A, 95% (*: without 0)",
            *rows,
        ]
    )
