"""An evaluation as one HTML page to send to a colleague: styles and figures are inside, nothing is fetched or run."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from agedetect.evaluation_text import SHOWN_MARGINS, decimal, leak_sentence, left_out_sentence, share, years
from agedetect_runtime.table import printable

if TYPE_CHECKING:
    from agedetect.bootstrap import Bounded
    from agedetect.evaluation import Evaluation, GroupScores
    from agedetect.gates import Share

_STYLE = """
:root { color-scheme: light dark; --line: #8883; --note: #6b7682; --soft: #8881 }
body { font: 15px/1.55 system-ui, sans-serif; max-width: 66em; margin: 2em auto; padding: 0 1.2em }
h1 { font-size: 1.55em; line-height: 1.25; margin-bottom: .2em }
h2 { font-size: 1.2em; margin: 2.2em 0 .5em; border-bottom: 1px solid var(--line); padding-bottom: .2em }
h3 { font-size: 1em; margin: 1.4em 0 .3em } p { max-width: 48em }
.pair { display: flex; flex-wrap: wrap; gap: 1em; align-items: flex-end } .pair p { flex: 1 1 20em; margin: 0 }
.figures { display: flex; flex-wrap: wrap; gap: .8em; margin: 1.2em 0 }
.figures div { background: var(--soft); border-radius: 8px; padding: .6em 1em; min-width: 8em }
.figures b { display: block; font-size: 1.6em; line-height: 1.3 } .figures span, .note { color: var(--note) }
.figures span, .note, caption { font-size: .87em }
table { border-collapse: collapse; margin: .6em 0 1em; font-size: .93em }
th, td { padding: .22em 1.2em .22em 0; text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
th:first-child, td:first-child { text-align: left } thead th { border-bottom: 1px solid var(--line); font-weight: 600 }
tbody tr:nth-child(even) { background: var(--soft) } tbody th { font-weight: 400 }
img { max-width: 100%; height: auto } .wide { overflow-x: auto } dt { font-weight: 600 } dd { margin: 0 0 .5em }
@media print { body { font-size: 11px; max-width: none; margin: 0 } h2 { break-after: avoid }
 tr, img, .figures div { break-inside: avoid } .wide { overflow: visible } }
"""
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
    images = {name: _image(svg, _ALT[name]) for name, svg in figures.items()}
    body = [*_head(result, images), *_by_age(result, images), *_by_group(result, images), *_gates(result, images)]
    body += [*_intervals(result, images), *_probabilities(result, images), *_leak(result), *_crossings(result)]
    body += _method(result)
    title = f"Ages by {_text(result.subject.model)}"
    viewport = '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
    head = f'<meta charset="utf-8"/>{viewport}<title>{title}</title><style>{_STYLE}</style>'
    lines = ["<!DOCTYPE html>", f'<html lang="en"><head>{head}</head><body>', *body, "</body></html>", ""]
    return "\n".join(lines)


def _head(result: Evaluation, images: Mapping[str, str]) -> list[str]:
    overall, subject = result.overall, result.subject
    why = subject.why[0].upper() + subject.why[1:]
    skipped = f" {subject.skipped:,} files gave no face." if subject.skipped else ""
    flip = " Each answer is the mean over a face and its mirror image." if subject.flip_average else ""
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
        f"<h1>Ages by {_text(subject.model)}</h1>",
        f'<p class="note">on {_text(subject.data)}</p>',
        f"<p><b>{result.n:,} faces.</b> {_text(why)}.{skipped}{flip}</p>",
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
        "with age: the crossings below compare like with like.</p>"
    )
    tables = [_scores(family, result.family(family)) for family in ("gender", "race")]
    return ["<h2>By gender and race</h2>", images["error_by_group"], *tables, note]


def _crossings(result: Evaluation) -> list[str]:
    parts = []
    for family in result.left_out:
        if groups := result.family(family):
            parts += [f"<h3>{family.capitalize()}</h3>", _scores(family, groups)]
    return ["<h2>Crossings</h2>", f'<p class="note">{_text(left_out_sentence(result))}</p>', *parts]


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
    return _table(heading, rows)


def _gates(result: Evaluation, images: Mapping[str, str]) -> list[str]:
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
            cells = [cell for item in (gate.accepted, gate.accepted_near, gate.rejected) for cell in _counted(item)]
            rows.append([f"{gate.threshold}", f"{gate.challenge}", *cells])
    note = (
        '<p class="note">In brackets Wilson\'s 95% interval. "Of the last 5 years below": of the faces at most five '
        "years younger than the threshold, since small children, easily told, would else flatter the gate. All "
        "challenge ages are in evaluation.json.</p>"
    )
    return [*parts, _table(heading, rows), note]


def _intervals(result: Evaluation, images: Mapping[str, str]) -> list[str]:
    if result.overall.coverage is None:
        return []
    level = "" if result.subject.level is None else f" The model promises {result.subject.level:.0%}."
    groups = [group for family in ("age", "gender", "race") for group in result.family(family)]
    rows = [["all faces", *_coverage(result.n, result.overall.coverage, result.overall.width)]]
    rows += [[group.name, *_coverage(group.scores.n, group.scores.coverage, group.scores.width)] for group in groups]
    return [
        "<h2>Intervals</h2>",
        f"<p>The share of the faces whose age lies within the interval that the model gives.{level} The promise is for "
        "faces at large, not for each group.</p>",
        images["coverage_by_age"],
        _table(["", "n", "coverage (95%)", "mean width (years)"], rows),
    ]


def _coverage(n: int, coverage: Bounded | None, width: Bounded | None) -> list[str]:
    return [f"{n:,}", share(coverage), "-" if width is None else years(width, digits=1)]


def _probabilities(result: Evaluation, images: Mapping[str, str]) -> list[str]:
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
            _table(["probability", "n", "mean probability", "share that is (95%)"], rows),
            f'<p class="note">n = {item.n:,}. Brier score {item.brier:.4f}; always answering the share of such faces '
            f"would have {item.brier_of_share:.4f}.</p>",
        ]
    return parts


def _leak(result: Evaluation) -> list[str]:
    if result.leak is None:
        return []
    return [
        "<h2>Copies kept apart</h2>",
        f"<p>{_text(leak_sentence(result.leak))}</p>",
        '<p class="note">Pixel-identical images are on one side of the split here. The estimate takes a leaked test '
        "file to err as the model does on training files that have a copy in training, and the others as the test "
        "faces do.</p>",
    ]


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


def _counted(item: Share) -> list[str]:
    return [share(item.share), f"{item.n:,}"]


def _ends(figure: Bounded, *, digits: int = 2, signed: bool = False, percent: bool = False, plain: bool = False) -> str:
    """The interval, with as many digits as its figure has."""
    if figure.low is None or figure.high is None:
        return "-"
    scale, digits = (100, 1) if percent else (1, digits)
    text = " to ".join(decimal(scale * end, digits, signed=signed) for end in (figure.low, figure.high))
    return text if plain else f"({text})"


def _table(heading: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in heading)
    body = "\n".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def _image(svg: str, alt: str) -> str:
    """As an image and not inline: the ids inside of two drawings can't meet."""
    data = base64.b64encode(svg.encode()).decode()
    return f'<p><img src="data:image/svg+xml;base64,{data}" alt="{alt}"/></p>'


def _text(value: str) -> str:
    return html.escape(printable(value))
