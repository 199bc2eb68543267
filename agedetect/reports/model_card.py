"""The model card: what whoever is handed the file must know before using it (Mitchell et al., 2019), as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agedetect.data.faces import FaceSet
from agedetect.data.splits import Splits
from agedetect.evaluation.result import Evaluation
from agedetect.reports.format import years
from agedetect.reports.tables import Table, coverage_table, gate_table, group_table, headlines, reliability_table
from agedetect.reports.text import GATES, NEAR_GATES, baseline_sentence, leakage_sentence, omitted_sentence
from agedetect_runtime import ModelSpec
from agedetect_runtime.table import level_text, printable

_OF_THE_MACHINE = ("data_dir", "data_licence", "device", "workers", "max_skipped", "registered_model_name")

INTENDED_USE = """\
Research on age estimation, and statistics over many faces of people who consented. The model takes one face per
picture, cut as in training; `agedetect-infer --find-faces` finds and aligns the faces of any picture. The figures of
this card hold for pictures like those of its test set. How far off such models are on other people's pictures is in
agedetect's docs/results.md.

Not for decisions about individuals, such as entry, purchases, employment, travel or residence. The age gates below show
how often such a use would go wrong: they are not an endorsement of it."""

LIMITS = """\
- Individual predictions can be far off: the share within ±10 years shows how many are off by more.
- Errors vary with age and group, as the tables show; for groups with few faces, the intervals are too wide to tell.
- Prediction intervals reach their nominal coverage over faces like those of the calibration, not in every group.
- Ages and groups are the labels of the data set, with its categories and its errors; many are estimates themselves.
- Other cameras, lighting, poses, make-up and edited pictures were not tested."""


def card(
    spec: ModelSpec, result: Evaluation, config: Mapping[str, Any], splits: Splits, face_set: FaceSet, *, licence: str
) -> str:
    """`result` is that of `splits.test`; `config` the settings of the run, listed but for what says where it ran."""
    parts = [
        f"# {printable(result.context.model)}: age estimation from faces",
        _summary(spec, result),
        "## Intended use",
        INTENDED_USE,
        "## Data",
        *_data(splits, face_set, licence),
        "## Recipe",
        _recipe(config),
        *_results(result),
        "## Age gates",
        f"{GATES} {NEAR_GATES}",
        _markdown(gate_table(result)),
        *_trust(result),
        "## Limits",
        LIMITS,
    ]
    return "\n\n".join(parts) + "\n"


def _summary(spec: ModelSpec, result: Evaluation) -> str:
    outputs = ["the age in years"]
    if spec.coverage is not None:
        outputs.append(f"a prediction interval with a nominal coverage of {level_text(spec.coverage)}")
    if spec.head == "distribution":
        outputs.append(f"the probabilities of the ages {spec.min_age:g} to {spec.max_age:g}")
    return (
        f"Backbone {spec.backbone}, {spec.image_size} px, {spec.precision}. Output: {', '.join(outputs)}.\n\n"
        f"Mean absolute error (MAE): {years(result.overall.mae)} years on {result.n:,} test faces used neither for "
        f"training nor for model selection. {baseline_sentence(result)} Its MAE is {years(result.median.mae)} years. "
        "All intervals in brackets are 95% confidence intervals (CI)."
    )


def _data(splits: Splits, face_set: FaceSet, licence: str) -> list[str]:
    rows = []
    for name, faces in {"training": splits.train, "validation": splits.validation, "test": splits.test}.items():
        ages = [face.age for face in faces]
        rows.append((name, f"{len(faces):,}", f"{min(ages):g} to {max(ages):g}", f"{sum(ages) / len(ages):.1f}"))
    return [
        f"{len(face_set.faces):,} faces; {len(face_set.skipped):,} files skipped. Licence of the data, which also "
        f"applies to this model: {printable(licence)}.",
        _markdown(Table(("split", "n", "ages (years)", "mean age"), rows)),
        "The split depends only on the pixels and a seed. Pixel-identical images are always in the same subset; those "
        f"with conflicting ages are used for training. {len(splits.omitted):,} near-duplicates of test or validation "
        f"faces are in no subset. Fingerprint of the split: {splits.fingerprint}; of its test set: "
        f"{splits.test_fingerprint}. Figures are comparable only where the latter is equal.",
    ]


def _recipe(config: Mapping[str, Any]) -> str:
    shown = {name: str(value) for name, value in config.items() if name not in _OF_THE_MACHINE}
    rows = [(name, Path(value).name if name == "weights" else value) for name, value in shown.items()]
    return _markdown(Table(("setting", "value"), rows))


def _results(result: Evaluation) -> list[str]:
    figures = [*((item.name, item.text) for item in headlines(result)), ("MSE", f"{years(result.overall.mse)} years²")]
    rows = [(name, text, f"{result.n:,}") for name, text in figures]
    parts = ["## Results on the test split", _markdown(Table(("metric", "value (95% CI)", "n"), rows))]
    for family in ("age", "gender", "race", *result.omitted):
        if groups := result.family(family):
            parts += [f"### By {family}", _markdown(group_table(family, groups))]
    return [*parts, omitted_sentence(result), *([leakage_sentence(result.leakage)] if result.leakage else [])]


def _trust(result: Evaluation) -> list[str]:
    """What the model's intervals and probabilities are worth, where it gives such."""
    parts = []
    if result.overall.coverage:
        nominal = result.context.nominal_coverage
        promise = f" Nominal coverage over all faces: {level_text(nominal)}." if nominal else ""
        meaning = f"Coverage is the share of faces whose true age lies within the interval.{promise}"
        parts += ["## Prediction intervals", meaning, _markdown(coverage_table(result))]
    if result.reliability:
        meaning = "The observed share of faces of at least the given age, by predicted probability."
        parts += ["## Probabilities", meaning, _markdown(reliability_table(result))]
    return parts


def _markdown(table: Table) -> str:
    """Columns line up, since a terminal shows the text as it is."""
    cells = [table.heading, *([printable(cell).replace("|", "\\|") for cell in row] for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])
