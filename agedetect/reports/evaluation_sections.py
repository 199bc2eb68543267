"""The sections of an evaluation's page that are about trust: age gates, intervals, probabilities, duplicates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from agedetect.evaluation.result import INTERVAL_FAMILIES
from agedetect.reports.page_parts import table, text
from agedetect.reports.text import SHOWN_MARGINS, leakage_sentence, share, years
from agedetect_runtime.table import level_text

if TYPE_CHECKING:
    from agedetect.evaluation.bootstrap import IntervalEstimate
    from agedetect.evaluation.gates import Share
    from agedetect.evaluation.result import Evaluation


def gates(result: Evaluation, images: Mapping[str, str]) -> list[str]:
    parts = [
        "<h2>Age gates</h2>",
        "<p>To keep out who is younger than a <b>threshold</b>, a gate lets through whoever is estimated at the "
        "<b>challenge age</b> or more, and asks the others for a proof of age. A higher challenge age lets fewer of "
        "the younger through and turns more of the others away. The two errors, as NIST reports them:</p>",
        images["age_gates"],
    ]
    heading = ["threshold", "challenge", "younger, let through", "n", "of the last 5 years below", "n"]
    heading += ["old enough, turned away", "n"]
    rows = []
    for gate in result.gates:
        if gate.challenge - gate.threshold in SHOWN_MARGINS:
            cells = [
                cell
                for item in (gate.false_positives, gate.false_positives_near, gate.false_negatives)
                for cell in _counted(item)
            ]
            rows.append([f"{gate.threshold}", f"{gate.challenge}", *cells])
    note = (
        '<p class="note">In brackets Wilson\'s 95% interval. "Of the last 5 years below": of the faces at most five '
        "years younger than the threshold, since small children, easily told, would else flatter the gate. All "
        "challenge ages are in evaluation.json.</p>"
    )
    return [*parts, table(heading, rows), note]


def intervals(result: Evaluation, images: Mapping[str, str]) -> list[str]:
    if result.overall.coverage is None:
        return []
    level = (
        ""
        if result.context.nominal_coverage is None
        else f" The model promises {level_text(result.context.nominal_coverage)}."
    )
    groups = [group for family in INTERVAL_FAMILIES for group in result.family(family)]
    rows = [["all faces", *_coverage(result.n, result.overall.coverage, result.overall.width)]]
    rows += [[group.name, *_coverage(group.scores.n, group.scores.coverage, group.scores.width)] for group in groups]
    return [
        "<h2>Intervals</h2>",
        f"<p>The share of the faces whose age lies within the interval that the model gives.{level} The promise is for "
        "faces at large, not for each group. By true age it is uneven wherever a model errs towards the middle; by the "
        "age that it says, which is what its users see, it should be even.</p>",
        images["coverage_by_age"],
        table(["", "n", "coverage (95%)", "mean width (years)"], rows),
    ]


def _coverage(n: int, coverage: IntervalEstimate | None, width: IntervalEstimate | None) -> list[str]:
    return [f"{n:,}", share(coverage), "-" if width is None else years(width, digits=1)]


def probabilities(result: Evaluation, images: Mapping[str, str]) -> list[str]:
    if not result.reliability:
        return []
    parts = [
        "<h2>Probabilities</h2>",
        "<p>Of the faces to which the model gives a probability of being so old, how many are? On the line, the "
        "probability means what it says.</p>",
        images["reliability"],
    ]
    for item in result.reliability:
        rows = [
            [f"{part.low:.0%} to {part.high:.0%}", f"{part.n:,}", f"{part.predicted:.1%}", share(part.observed)]
            for part in item.bins
        ]
        parts += [
            f"<h3>{item.threshold} years or more</h3>",
            table(["probability", "n", "mean probability", "share that is (95%)"], rows),
            f'<p class="note">n = {item.n:,}. Brier score {item.brier:.4f}; always answering the share of such faces '
            f"would have {item.brier_of_share:.4f}.</p>",
        ]
    return parts


def duplicates(result: Evaluation) -> list[str]:
    if result.leakage is None:
        return []
    return [
        "<h2>Duplicates kept apart</h2>",
        f"<p>{text(leakage_sentence(result.leakage))}</p>",
        '<p class="note">Pixel-identical images are in one subset of the split here. The estimate takes a leaked test '
        "file to err as the model does on training files that have a copy in training, and the others as the test "
        "faces do.</p>",
    ]


def _counted(item: Share) -> list[str]:
    return [share(item.share), f"{item.n:,}"]
