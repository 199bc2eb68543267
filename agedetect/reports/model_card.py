"""The model card: what whoever is handed the file must know before using it (Mitchell et al., 2019), as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agedetect.data.faces import FaceSet
from agedetect.data.splits import Splits
from agedetect.evaluation.result import INTERVAL_FAMILIES, Evaluation, GroupScores
from agedetect.reports.text import SHOWN_MARGINS, counted, decimal, leakage_sentence, omitted_sentence, share, years
from agedetect_runtime import ModelSpec
from agedetect_runtime.table import level_text, printable

_OF_THE_MACHINE = ("data_dir", "data_licence", "device", "workers", "max_skipped", "registered_model_name")

INTENDED_USE = """\
Research on age estimation, and statistics over many faces whose owners agreed to it. The input is one face that fills
the picture, as UTKFace's aligned chips do; the model finds no faces and says nothing sensible about other pictures.

Not for decisions about a person: who may enter, buy, work, travel or stay. The gates below say how often it would let
the younger through and turn the others away, so that nobody takes it for an age check."""

LIMITS = """\
- Single answers can be far off: the share within ±10 years above says how often they are further off than that.
- Errors differ by age and group: the tables say by how much, and where there are few faces they can't say.
- The intervals hold their promise over faces like those they were calibrated on, not for each age or group.
- Ages and groups are the data's labels: as coarse, and as far guessed by people or machines, as the data set's are.
- Other cameras, light, poses, make-up and edited pictures were not tested."""


def card(
    spec: ModelSpec, result: Evaluation, config: Mapping[str, Any], splits: Splits, face_set: FaceSet, *, licence: str
) -> str:
    """`result` is that of `splits.test`; `config` the settings of the run, listed but for what says where it ran."""
    parts = [
        f"# {printable(result.context.model)}: ages from faces",
        _summary(spec, result),
        "## Intended use",
        INTENDED_USE,
        "## Data",
        _data(splits, face_set, licence),
        "## Recipe",
        _recipe(config),
        *_results(result),
        *_gates(result),
        *_intervals(result),
        *_probabilities(result),
        "## Limits",
        LIMITS,
    ]
    return "\n\n".join(parts) + "\n"


def _summary(spec: ModelSpec, result: Evaluation) -> str:
    overall = result.overall
    interval = "" if spec.coverage is None else f", an interval that is to hold {level_text(spec.coverage)} of the ages"
    chances = (
        f", the probabilities of {spec.min_age:g} to {spec.max_age:g} years" if spec.head == "distribution" else ""
    )
    return (
        f"Backbone {spec.backbone}, {spec.image_size} px, {spec.precision}. It answers with the age in years{interval}"
        f"{chances}.\n\nMean absolute error {years(overall.mae)} years on {result.n:,} test faces that it never saw; "
        f"always answering {result.median.age:g} years would err by {years(result.median.mae)}. In brackets, here and "
        "below: 95% intervals."
    )


def _recipe(config: Mapping[str, Any]) -> str:
    rows = [[name, str(value)] for name, value in config.items() if name not in _OF_THE_MACHINE]
    shown = [[name, Path(value).name if name == "weights" else value] for name, value in rows]
    return _table(["setting", "value"], shown)


def _data(splits: Splits, face_set: FaceSet, licence: str) -> str:
    subsets = {"training": splits.train, "validation": splits.validation, "test": splits.test}
    rows = []
    for name, faces in subsets.items():
        ages = [face.age for face in faces]
        rows.append([name, f"{len(faces):,}", f"{min(ages):g} to {max(ages):g}", f"{sum(ages) / len(ages):.1f}"])
    return "\n\n".join(
        [
            f"{len(face_set.faces):,} faces, {len(face_set.skipped):,} files skipped. Licence of the data, which goes "
            f"for this model too: {printable(licence)}.",
            _table(["subset", "n", "ages (years)", "mean age"], rows),
            "The split follows from the pixels and a seed. Pixel-identical images are in one subset, and those whose "
            f"duplicates carry different ages train. Fingerprint of the split {splits.fingerprint}, of its test set "
            f"{splits.test_fingerprint}: figures compare only where the latter is equal.",
        ]
    )


def _results(result: Evaluation) -> list[str]:
    overall = result.overall
    figures = {
        "MAE (years)": years(overall.mae),
        "bias (years, +: says too old)": years(overall.bias, signed=True),
        "RMSE (years)": years(overall.rmse),
        "MSE (years²)": years(overall.mse),
        "R²": "-" if overall.r2 is None else years(overall.r2, digits=3),
        "within ±5 years": share(overall.within_5),
        "within ±10 years": share(overall.within_10),
        "MAE of always answering the median": years(result.median.mae),
    }
    rows = [[name, value, f"{result.n:,}"] for name, value in figures.items()]
    parts = ["## Results on the test split", _table(["figure", "value (95%)", "n"], rows)]
    for family in ("age", "gender", "race", *result.omitted):
        if groups := result.family(family):
            parts += [f"### By {family}", _groups(family, groups)]
    leakage = [leakage_sentence(result.leakage)] if result.leakage else []
    return [*parts, omitted_sentence(result), *leakage]


def _groups(family: str, groups: Sequence[GroupScores]) -> str:
    rows = [
        [
            group.name,
            f"{group.scores.n:,}",
            years(group.scores.mae),
            decimal(group.scores.bias.value, signed=True),
            share(group.scores.within_5),
        ]
        for group in groups
    ]
    return _table([family, "n", "MAE (years)", "bias", "within ±5 years"], rows)


def _gates(result: Evaluation) -> list[str]:
    rows = [
        [
            f"{gate.threshold}",
            f"{gate.challenge}",
            *map(counted, (gate.false_positives, gate.false_positives_near, gate.false_negatives)),
        ]
        for gate in result.gates
        if gate.challenge - gate.threshold in SHOWN_MARGINS
    ]
    heading = ["threshold", "challenge age", "younger, let through", "of the last 5 years below", "others turned away"]
    text = "Who is estimated at the challenge age or more passes a gate that is to keep out who is below the threshold."
    return ["## Age gates", text, _table(heading, rows)]


def _intervals(result: Evaluation) -> list[str]:
    overall = result.overall
    if overall.coverage is None or overall.width is None:
        return []
    rows = [["all faces", f"{result.n:,}", share(overall.coverage), years(overall.width, digits=1)]]
    for group in [group for family in INTERVAL_FAMILIES for group in result.family(family)]:
        coverage, width = group.scores.coverage, group.scores.width
        if coverage and width:
            rows.append([group.name, f"{group.scores.n:,}", share(coverage), years(width, digits=1)])
    promised = (
        ""
        if result.context.nominal_coverage is None
        else f"Promised: {level_text(result.context.nominal_coverage)} over all faces."
    )
    return ["## Intervals", promised, _table(["", "n", "ages in their interval", "mean width (years)"], rows)]


def _probabilities(result: Evaluation) -> list[str]:
    if not result.reliability:
        return []
    rows = [
        [
            f"{item.threshold}+",
            f"{part.low:.0%} to {part.high:.0%}",
            f"{part.n:,}",
            f"{part.predicted:.1%}",
            share(part.observed),
        ]
        for item in result.reliability
        for part in item.bins
    ]
    text = "Of the faces with such a probability of being so old, the share that is."
    return ["## Probabilities", text, _table(["age", "probability", "n", "mean probability", "share"], rows)]


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns line up, since a terminal shows it as it is."""
    cells = [list(heading), *([printable(cell).replace("|", "\\|") for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heading))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])
