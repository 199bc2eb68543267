"""An evaluation as one HTML page to send to a colleague: styles and figures are inside, nothing is fetched or run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from agedetect.reports.evaluation_sections import duplicates, gates, intervals, probabilities
from agedetect.reports.page_parts import frame, image, table, text
from agedetect.reports.text import decimal, omitted_sentence, years

if TYPE_CHECKING:
    from agedetect.evaluation.bootstrap import IntervalEstimate
    from agedetect.evaluation.result import Evaluation, GroupScores

_ALT = {
    "predicted_against_true": "Estimate against true age, a point a face",
    "error_by_age": "Mean absolute error and bias by decade of age",
    "error_by_group": "Mean absolute error by gender and race",
    "cumulative_score": "Share of the faces within so many years",
    "age_gates": "Both errors of age gates against the challenge age",
    "coverage_by_age": "Coverage of the intervals by decade of age",
    "reliability": "Probabilities of an age against the share of faces that are so old",
}


def evaluation_page(result: Evaluation, figures: Mapping[str, str]) -> str:
    """The page, well-formed as XML too. `figures` are evaluation_plots.figures' SVG texts by name."""
    images = {name: image(svg, _ALT[name]) for name, svg in figures.items()}
    body = [*_head(result, images), *_by_age(result, images), *_by_group(result, images), *gates(result, images)]
    body += [*intervals(result, images), *probabilities(result, images), *duplicates(result), *_crossings(result)]
    body += _method(result)
    return frame(f"Ages by {result.context.model}", body)


def _head(result: Evaluation, images: Mapping[str, str]) -> list[str]:
    overall, context = result.overall, result.context
    why = context.why[0].upper() + context.why[1:]
    skipped = f" {context.skipped:,} files gave no face." if context.skipped else ""
    tiles = [
        ("mean absolute error (MAE)", f"{overall.mae.value:.2f} years", _ends(overall.mae)),
        ("always answering the median", f"{result.median.mae.value:.2f} years", _ends(result.median.mae)),
        (
            "bias (+: says too old)",
            f"{decimal(overall.bias.value, signed=True)} years",
            _ends(overall.bias, signed=True),
        ),
        ("RMSE", f"{overall.rmse.value:.2f} years", _ends(overall.rmse)),
        ("within ±5 years", f"{overall.within_5.value:.1%}", _ends(overall.within_5, percent=True)),
        ("within ±10 years", f"{overall.within_10.value:.1%}", _ends(overall.within_10, percent=True)),
    ]
    if overall.r2:
        tiles.append(("R²", f"{overall.r2.value:.3f}", _ends(overall.r2, digits=3)))
    if overall.coverage:
        tiles.append(("ages in their interval", f"{overall.coverage.value:.1%}", _ends(overall.coverage, percent=True)))
    cards = "".join(f"<div>{name}<b>{value}</b><span>{ends}</span></div>" for name, value, ends in tiles)
    return [
        f"<h1>Ages by {text(context.model)}</h1>",
        f'<p class="note">on {text(context.data)}</p>',
        f"<p><b>{result.n:,} faces.</b> {text(why)}.{skipped}</p>",
        f'<div class="figures">{cards}</div>',
        f'<p class="note">n = {result.n:,} for every figure above; in brackets its 95% interval. MSE '
        f"{years(overall.mse)} years². The median is {result.median.age:g} years, that of the {result.median.of} "
        "faces.</p>",
        f'<div class="pair">{images["predicted_against_true"]}{images["cumulative_score"]}</div>',
    ]


def _by_age(result: Evaluation, images: Mapping[str, str]) -> list[str]:
    return ["<h2>By age</h2>", images["error_by_age"], _scores("decade", result.family("age"))]


def _by_group(result: Evaluation, images: Mapping[str, str]) -> list[str]:
    note = (
        '<p class="note">The groups are those of the data\'s labels. Groups differ in their ages too, and errors grow '
        "with age: the intersections below compare like with like.</p>"
    )
    tables = [_scores(family, result.family(family)) for family in ("gender", "race")]
    return ["<h2>By gender and race</h2>", images["error_by_group"], *tables, note]


def _crossings(result: Evaluation) -> list[str]:
    parts = []
    for family in result.omitted:
        if groups := result.family(family):
            parts += [f"<h3>{family.capitalize()}</h3>", _scores(family, groups)]
    return ["<h2>Intersections</h2>", f'<p class="note">{text(omitted_sentence(result))}</p>', *parts]


def _scores(name: str, groups: Sequence[GroupScores]) -> str:
    heading = [name, "n", "MAE (years)", "95%", "bias", "95%", "RMSE", "within ±5", "95%", "within ±10"]
    rows = []
    for group in groups:
        scores = group.scores
        mae, bias, within = scores.mae, scores.bias, scores.within_5
        cells = [f"{scores.n:,}", f"{mae.value:.2f}", _ends(mae, plain=True), decimal(bias.value, signed=True)]
        cells += [_ends(bias, signed=True, plain=True), f"{scores.rmse.value:.2f}", f"{within.value:.1%}"]
        cells += [_ends(within, percent=True, plain=True), f"{scores.within_10.value:.1%}"]
        rows.append([group.name, *cells])
    return table(heading, rows)


def _method(result: Evaluation) -> list[str]:
    return [
        "<h2>How it was measured</h2>",
        f'<p class="note">Intervals: 95%. Of shares they are Wilson\'s, of everything else percentiles of '
        f"{result.resamples:,} resamples of the images, in each group by itself; with fewer than some twenty faces "
        "those are too narrow. They tell how far chance in the choice of images goes, not how other faces or labels "
        "would do; the ages of the labels are partly estimates themselves. Many groups are compared: one in twenty "
        f"intervals misses. Figures compare only where the fingerprint of the faces is equal: "
        f"{result.fingerprint}.</p>",
    ]


def _ends(
    figure: IntervalEstimate, *, digits: int = 2, signed: bool = False, percent: bool = False, plain: bool = False
) -> str:
    """The interval, with as many digits as its figure has."""
    if figure.low is None or figure.high is None:
        return "-"
    scale, digits = (100, 1) if percent else (1, digits)
    both = " to ".join(decimal(scale * end, digits, signed=signed) for end in (figure.low, figure.high))
    return both if plain else f"({both})"
