"""An evaluation as text for a terminal, and the ways in which its figures are written everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agedetect.evaluation.bootstrap import Bounded
from agedetect_runtime.table import level_text, printable

if TYPE_CHECKING:
    from agedetect.evaluation.gates import Share
    from agedetect.evaluation.leakage import Leak
    from agedetect.evaluation.result import Evaluation, GroupScores

_HEADING = ("", "n", "MAE (95% interval)", "bias", "within ±5")
SHOWN_MARGINS = (0, 3, 5, 7, 10, 15)  # years between the threshold and the challenge age


def format_evaluation(result: Evaluation) -> str:
    """The overall figures, then by decade, gender and race; crossings, gates and curves are in the files."""
    overall = result.overall
    lines = [
        f"{printable(result.subject.model)} on {printable(result.subject.data)}",
        f"{result.n:,} faces: {result.subject.why}",
        *([f"{result.subject.skipped:,} files gave no face"] if result.subject.skipped else []),
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
        level = "" if result.subject.level is None else f", {level_text(result.subject.level)} promised"
        lines.append(f"intervals  {share(overall.coverage)} hold the age{level}; {years(overall.width)} years wide")
    for family in ("age", "gender", "race"):
        lines += ["", f"by {family}", *_rows(result.family(family))]
    lines += ["", *_gates(result)]
    if result.leak:
        lines += ["", leak_sentence(result.leak)]
    return "\n".join([*lines, "", left_out_sentence(result)])


def years(figure: Bounded, *, digits: int = 2, signed: bool = False) -> str:
    """`4.85 (4.63 to 5.07)`"""

    def text(value: float) -> str:
        return decimal(value, digits, signed=signed)

    if figure.low is None or figure.high is None:
        return text(figure.value)
    return f"{text(figure.value)} ({text(figure.low)} to {text(figure.high)})"


def decimal(value: float, digits: int = 2, *, signed: bool = False) -> str:
    """Without "-0.00"."""
    return f"{round(value, digits) + 0.0:{'+' if signed else ''}.{digits}f}"


def share(figure: Bounded | None) -> str:
    """`64.3% (62.1 to 66.5)`"""
    if figure is None:
        return "-"
    ends = "" if figure.low is None or figure.high is None else f" ({100 * figure.low:.1f} to {100 * figure.high:.1f})"
    return f"{figure.value:.1%}{ends}"


def left_out_sentence(result: Evaluation) -> str:
    cells = [f"{count:,} of {family}" for family, count in result.left_out.items() if count]
    listed = ", ".join(cells) or "none"
    return f"Cells of crossings with fewer than {result.fewest} faces, left out: {listed}."


def leak_sentence(leak: Leak) -> str:
    """The count, and the MAE that it would have made."""
    if not leak.most:
        nothing = "would have had a pixel-identical copy in training"
        return f"Split file by file, none of {leak.test_files:,} test files {nothing}."
    text = (
        f"Split file by file, {leak.leaked:.1f} of {leak.test_files:,} test files would have had a pixel-identical "
        f"copy in training ({leak.least} to {leak.most} over {leak.seeds} random splits)"
    )
    if not (leak.mae and leak.clean_mae and leak.copies_mae and leak.gain):
        return f"{text}. No copy was trained on, so what that would have hidden can't be said."
    return (
        f"{text}, and the MAE would have been {leak.mae.value:.2f} instead of {leak.clean_mae.value:.2f} years, "
        f"{years(leak.gain)} less, at most: the model errs by {years(leak.copies_mae)} years on the {leak.copies:,} "
        "training files that have a copy in training."
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
    lines = ["age gates: who is let through wrongly, who is turned away wrongly"]
    for gate in result.gates:
        if gate.challenge - gate.threshold in (0, 7):
            lines.append(
                f"  threshold {gate.threshold}, challenge {gate.challenge}: of the younger {counted(gate.accepted)}; "
                f"of the others {counted(gate.rejected)}"
            )
    return lines
