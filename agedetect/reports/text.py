"""An evaluation or a comparison as text for a terminal, and the sentences that every report shares."""

from __future__ import annotations

from agedetect.evaluation.comparison import Comparison
from agedetect.evaluation.leakage import Leakage
from agedetect.evaluation.result import Evaluation, FaceFinding
from agedetect.evaluation.sensitivity import JITTER, CropSensitivity
from agedetect.evaluation.significance import ALPHA
from agedetect.reports.format import share, years
from agedetect.reports.tables import (
    Table,
    comparison_table,
    group_table,
    headlines,
    pass_rate_table,
    sensitivity_table,
)
from agedetect_runtime.table import printable

SHOWN_THRESHOLD = 18  # of the table by year of age; the page has them all
GATES = (
    "A gate passes everyone estimated at the challenge age or older and asks all others for proof of age. The false "
    "positive rate (FPR) is the share of minors passed, the false negative rate (FNR) the share of adults challenged; "
    "minors are the faces younger than the threshold, adults all others."
)
NEAR_GATES = (
    "The FPR of the last 5 years below counts only faces at most five years younger than the threshold: young "
    "children, who are easy to recognise, make the overall FPR look low."
)

_NAMED = 5  # pictures without a face; evaluation.json has them all


def format_evaluation(result: Evaluation) -> str:
    """The overall figures, then by decade, gender and race; intersections and further gates are in the files."""
    context, figures = result.context, headlines(result)
    width = max(len(item.name) for item in figures)
    lines = [
        f"{context.model} on {context.data}",
        f"{faces_counted(result.n, result.files)}: {context.why}",
        *([skipped_sentence(context.skipped)] if context.skipped else []),
        *([finding_sentence(context.finding)] if context.finding else []),
        "",
        *(f"{item.name.ljust(width)}  {item.text}" for item in figures),
        "",
        f"95% confidence intervals in brackets. {baseline_sentence(result)}",
    ]
    for family in ("age", "gender", "race"):
        lines += ["", *_aligned(group_table(f"by {family}", result.family(family)))]
    lines += ["", "Age gates: false positive rate, FPR (minors passed); false negative rate, FNR (adults challenged)"]
    for gate in result.gates:
        if gate.challenge - gate.threshold in (0, 7):
            passed, challenged = gate.false_positives, gate.false_negatives
            lines.append(
                f"  threshold {gate.threshold}, challenge age {gate.challenge}: FPR {share(passed.share)}, "
                f"n={passed.n:,}; FNR {share(challenged.share)}, n={challenged.n:,}"
            )
    lines += ["", "By year of true age", *_aligned(pass_rate_table(result, (SHOWN_THRESHOLD,)))]
    if found := result.sensitivity:
        lines += ["", sensitivity_sentence(found), *_aligned(sensitivity_table(found))]
    leakage = ["", leakage_sentence(result.leakage)] if result.leakage else []
    return "\n".join(map(printable, [*lines, *leakage, "", omitted_sentence(result)]))


def faces_counted(faces: int, files: int) -> str:
    """How many faces the figures are of."""
    return (
        f"{faces:,} faces" if faces == files else f"{faces:,} different faces in {files:,} files, copies counted once"
    )


def skipped_sentence(count: int) -> str:
    return f"Skipped files: {count:,} (unreadable, or without a valid label)."


def finding_sentence(found: FaceFinding) -> str:
    """How many pictures show a face; those that don't are in no figure, and here are the first of them."""
    missing, shown = len(found.without_face), ", ".join(found.without_face[:_NAMED])
    start = f"A face was found in {found.pictures - missing:,} of {found.pictures:,} pictures ({found.detector})"
    if not missing:
        return f"{start}."
    more = f" and {missing - _NAMED:,} more" if missing > _NAMED else ""
    return f"{start}; no figure counts the others: {shown}{more}."


def sensitivity_sentence(found: CropSensitivity) -> str:
    """What a crop that is a little off costs, and whether that is below the aim."""
    size, degrees, shift, _ = JITTER
    verdicts = {
        "met": "is met",
        "missed": "is missed",
        "undecided": "is within the interval: more faces would tell",
    }
    growth = years(found.random.growth, signed=True)
    return (
        f"Crop sensitivity, {found.n:,} faces: scaled by up to {size:.0%}, shifted by {shift:.0%} of the side and "
        f"turned by {degrees:g}° at random, their MAE changes by {growth} years; the aim of less than {found.aim:g} "
        f"{verdicts[found.verdict]}."
    )


def baseline_sentence(result: Evaluation) -> str:
    faces = "training" if result.median.of == "training" else "evaluated"
    return f"The median baseline always predicts {result.median.age:g} years, the median age of the {faces} faces."


def omitted_sentence(result: Evaluation) -> str:
    cells = [f"{count:,} of {family}" for family, count in result.omitted.items() if count]
    if not cells:
        return f"No intersection has fewer than {result.fewest} faces."
    return f"Intersections with fewer than {result.fewest} faces are omitted: {'; '.join(cells)}."


def leakage_sentence(leakage: Leakage) -> str:
    """How many test files a split by file would have leaked, and what that would have done to the MAE."""
    would = "would have a duplicate or near-duplicate in training"
    if not leakage.most:
        return f"Split file by file, none of {leakage.test_files:,} test files {would}."
    count = (
        f"Split file by file, {leakage.leaked:.1f} of {leakage.test_files:,} test files {would} (mean of "
        f"{leakage.seeds} random splits, range {leakage.least} to {leakage.most})."
    )
    if not (leakage.mae and leakage.clean_mae and leakage.duplicates_mae and leakage.gain):
        return f"{count} No training file has a duplicate in training, so the effect on the MAE cannot be estimated."
    return (
        f"{count} The MAE would change from {leakage.clean_mae.value:.2f} to {leakage.mae.value:.2f} years, an "
        f"improvement of at most {years(leakage.gain)} years: on the {leakage.duplicates:,} training files with a "
        f"duplicate in training, the model's MAE is {years(leakage.duplicates_mae)} years."
    )


def verdict(result: Comparison) -> str:
    """`A is better by 0.21 years (0.08 to 0.34), n=300`, or `no significant difference: ...`."""
    advantage, n = result.overall.advantage, f"n={result.overall.n:,}"
    if not result.overall.significant:
        difference = f"{result.second} minus {result.first} {years(advantage, signed=True)} years"
        return f"no significant difference at 95%: {difference}, {n}"
    better = result.first if advantage.value > 0 else result.second
    low, high = sorted(abs(bound) for bound in (advantage.low, advantage.high) if bound is not None)
    return f"{better} is better by {abs(advantage.value):.2f} years ({low:.2f} to {high:.2f}), {n}"


def significance_sentence(result: Comparison) -> str:
    return (
        f"Significant: p < {ALPHA:g} in a paired sign-flip test; by group, after Holm's correction for the "
        f"{len(result.groups)} groups. The intervals are not corrected: about one in twenty misses the true value."
    )


def format_comparison(result: Comparison) -> str:
    """The verdict, then a row a group."""
    lines = [
        f"A: {result.first}",
        f"B: {result.second}",
        f"{faces_counted(result.overall.n, result.files)}: {result.why}",
        "",
        verdict(result),
        "",
        *_aligned(comparison_table(result)),
        "",
        "B minus A in years: positive where A is better.",
        significance_sentence(result),
    ]
    return "\n".join(map(printable, lines))


def _aligned(table: Table) -> list[str]:
    """The first column flush left, the others flush right."""
    rows = [table.heading, *table.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    return ["  " + "  ".join(line) for line in lines]
