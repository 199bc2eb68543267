"""What is sent to a colleague: the page, the figures, the text and the files of an evaluation."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from agedetect.data.faces import Face
from agedetect.data.splits import split_faces
from agedetect.evaluation.bootstrap import IntervalEstimate
from agedetect.evaluation.leakage import estimate_leakage, training_duplicates
from agedetect.evaluation.predictions import Predictions
from agedetect.evaluation.result import Context, Evaluation, FaceFinding, evaluate_predictions
from agedetect.evaluation.sensitivity import AMOUNTS, CropSensitivity, MovedFaces
from agedetect.reports import figures as error_figures
from agedetect.reports import trust_figures
from agedetect.reports.figures import figures
from agedetect.reports.format import decimal
from agedetect.reports.html import evaluation_page
from agedetect.reports.tables import sensitivity_table
from agedetect.reports.text import format_evaluation
from agedetect.reports.thumbnails import worst_faces
from agedetect.reports.write import write_evaluation
from imaginary_faces import imaginary_face, imaginary_faces

CONTEXT = Context(
    model="agedetect version 3", data="faces", split="test", why="drawn by lot", nominal_coverage=0.9, skipped=2
)


def predictions(faces: list[Face], seed: int = 0) -> Predictions:
    true = np.array([face.age for face in faces])
    age = np.clip(true + np.random.default_rng(seed).normal(0, 5, len(true)), 0, 100)
    chances = np.exp(-0.5 * ((np.arange(117) - age[:, None]) / 5) ** 2)
    return Predictions.of(faces, age, age - 8, age + 8, chances / chances.sum(axis=1, keepdims=True))


@pytest.fixture(scope="module")
def full() -> Evaluation:
    """Every section: groups and intersections, gates, intervals, probabilities, moved faces, a leakage."""
    faces = imaginary_faces(np.random.default_rng(1).integers(1, 100, 900).astype(float).tolist(), groups=True)
    faces += [imaginary_face(face.age, number, face.gender, face.race, 1) for number, face in enumerate(faces[:90])]
    splits = split_faces(faces)
    duplicates = training_duplicates(splits)
    judged = predictions(list(splits.test))
    return evaluate_predictions(
        predictions(faces),
        CONTEXT,
        training_median=49,
        leakage=estimate_leakage(splits, judged, predictions(list(duplicates), 1)),
        sensitivity=moved_faces(),
    )


def moved_faces() -> CropSensitivity:
    """Half a year worse with each amount of a factor."""

    def step(factor: str, amount: float, place: float) -> MovedFaces:
        growth = 0.5 * place
        return MovedFaces(factor, amount, years_about(4 + growth), years_about(growth))

    steps = (step(factor, amount, place) for factor in AMOUNTS for place, amount in enumerate(AMOUNTS[factor], 1))
    return CropSensitivity(n=77, mae=years_about(4), steps=tuple(steps), random=step("random", 1, 0.3))


def years_about(value: float) -> IntervalEstimate:
    return IntervalEstimate(value, value - 0.1, value + 0.1)


@pytest.fixture(scope="module")
def drawn(full: Evaluation) -> dict[str, str]:
    return figures(full)


@pytest.fixture(scope="module")
def page(full: Evaluation, drawn: dict[str, str]) -> str:
    return evaluation_page(full, drawn, worst_faces(full.predictions))


def parsed(page: str) -> ElementTree.Element:
    return ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))


def test_the_page_fetches_and_runs_nothing(page: str, drawn: dict[str, str]) -> None:
    root = parsed(page)
    sources = [image.get("src") or "" for image in root.iter("img")]
    assert [source.split(",")[0] for source in sources].count("data:image/svg+xml;base64") == len(drawn)
    assert [source.split(",")[0] for source in sources].count("data:image/jpeg;base64") == 24
    assert len(sources) == len(drawn) + 24
    targets = {f"#{element.get('id')}" for element in root.iter() if element.get("id")}
    links = [link.get("href") for link in root.iter("a")]
    assert set(links) == targets  # within the page, and every section is linked to
    assert page.count("src=") + page.count("href=") == len(sources) + len(links)
    assert not re.search(r"https?:|<script|<link|<iframe|@import|url\(|\bon\w+=", page)
    for svg in drawn.values():  # an image's own references are to parts of itself, or hold their data
        assert all(part.startswith(("#", "data:")) for part in re.findall(r'href="([^"]*)"', svg))
        assert "<script" not in svg


def test_the_page_shows_every_figure_once(page: str, drawn: dict[str, str]) -> None:
    shown = [image.get("src", "").split(",")[1] for image in parsed(page).iter("img")]
    for svg in drawn.values():
        assert shown.count(base64.b64encode(svg.encode()).decode()) == 1
        ElementTree.fromstring(svg)


def test_every_table_row_has_its_n(full: Evaluation, page: str) -> None:
    tables = parsed(page).findall(".//table")
    # by age, gender, race and each intersection; gates twice, coverage, Brier scores, reliability and moved faces
    assert len(tables) == 3 + len([family for family in full.omitted if full.family(family)]) + 6
    for table in tables:
        heading = [cell.text for cell in table.findall("./thead/tr/th")]
        counts = [place for place, name in enumerate(heading) if name == "n"]
        assert counts
        rows = table.findall("./tbody/tr")
        assert rows
        for row in rows:
            cells = [cell.text or "" for cell in row.findall("td")]
            assert len(cells) == len(heading)
            assert all(cells[place].replace(",", "").isdigit() for place in counts)


def test_the_headline_is_the_mae_with_its_interval_beside_the_median_baseline(full: Evaluation, page: str) -> None:
    (tiles,) = [element for element in parsed(page).iter("div") if element.get("class") == "tiles"]
    texts = [" ".join("".join(tile.itertext()).split()) for tile in tiles]
    names = ("MAE", "MAE of the median baseline")
    for name, figure, text in zip(names, (full.overall.mae, full.median.mae), texts[:2], strict=True):
        assert text == f"{name}{figure.value:.2f} years {figure.low:.2f} to {figure.high:.2f}"
    assert [text.split("%")[0] for text in texts[2:4]] == [
        f"within ±5 years{100 * full.overall.within_5.value:.1f}",
        f"within ±10 years{100 * full.overall.within_10.value:.1f}",
    ]
    assert any(text.startswith("interval coverage (nominal 90%)") for text in texts)


def test_every_figure_says_how_many_faces_it_shows(full: Evaluation) -> None:
    for draw in (
        error_figures.predicted_against_true,
        error_figures.error_by_age,
        error_figures.error_by_group,
        error_figures.cumulative_score,
        error_figures.residuals,
        trust_figures.coverage_by_age,
        trust_figures.reliability_curve,
    ):
        assert "n = 900" in draw(full).axes[0].get_title(loc="right")
    left, right = trust_figures.age_gates(full).axes
    legends = [axes.get_legend() for axes in (left, right)]
    labels = [[text.get_text() for text in legend.get_texts()] for legend in legends if legend is not None]
    gates = [gate for gate in full.gates if gate.challenge == gate.threshold]
    assert labels[0] == [f"{gate.threshold} (n={gate.false_positives.n:,})" for gate in gates]
    assert labels[1] == [f"{gate.threshold} (n={gate.false_negatives.n:,})" for gate in gates]


def test_the_gates_curve_is_the_gates(full: Evaluation) -> None:
    left, _ = trust_figures.age_gates(full).axes
    eighteen = next(line for line in left.lines if str(line.get_label()).startswith("18 "))
    gates = [gate for gate in full.gates if gate.threshold == 18]
    assert np.asarray(eighteen.get_xdata()).tolist() == list(range(18, 34))
    assert np.asarray(eighteen.get_ydata()).tolist() == [
        100 * gate.false_positives.share.value for gate in gates if gate.false_positives.share
    ]


def test_the_rates_by_year_are_in_the_text_and_the_figure(full: Evaluation) -> None:
    rates = [rate for rate in full.pass_rates if rate.threshold == 18]
    line = next(
        line for line in trust_figures.pass_rates_by_age(full).axes[0].lines if str(line.get_label()).startswith("18 ")
    )
    known = [rate for rate in rates if rate.passed.share]
    assert np.asarray(line.get_xdata()).tolist() == [rate.age for rate in known]
    text = format_evaluation(full)
    for rate in known:
        assert rate.passed.share
        row = rf"^  18 +{rate.age} +{rate.passed.n} +{100 * rate.passed.share.value:.1f}% \("
        assert re.search(row, text, re.MULTILINE)


def test_the_crop_sensitivity_s_curves_go_through_the_unmoved_faces(full: Evaluation) -> None:
    assert full.sensitivity is not None
    panels = trust_figures.crop_sensitivity(full.sensitivity).axes
    assert panels[-1].get_title(loc="right") == "n = 77"
    size, shift, turn = ([np.asarray(data).tolist() for data in axes.lines[0].get_data()] for axes in panels)
    assert size == [[0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.4], [4.5, 5, 5.5, 4, 6, 6.5, 7, 7.5]]
    assert shift == [[0, 0.025, 0.05, 0.1, 0.15], [4, 4.5, 5, 5.5, 6]]
    assert turn == [[0, 5, 10, 15, 20, 30], [4, 4.5, 5, 5.5, 6, 6.5]]


def test_the_crop_sensitivity_s_table_has_each_movement_and_the_text_its_aim(full: Evaluation) -> None:
    assert full.sensitivity is not None
    rows = {row[0]: row[1:] for row in sensitivity_table(full.sensitivity).rows}
    assert rows["as they are"] == ("77", "4.00 (3.90 to 4.10)", "-")
    assert rows["shifted by 15.0% of the side"] == ("77", "6.00 (5.90 to 6.10)", "+2.00 (+1.90 to +2.10)")
    assert rows["all three at random"] == ("77", "4.15 (4.05 to 4.25)", "+0.15 (+0.05 to +0.25)")
    assert len(rows) == 2 + 16
    text = format_evaluation(full)
    assert "their MAE changes by +0.15 (+0.05 to +0.25) years; the aim of less than 0.2 is within the interval" in text
    assert re.search(r"^  0\.7 times as large +77 +4\.50", text, re.MULTILINE)


def test_photos_without_a_face_are_counted_and_the_first_are_named(full: Evaluation, drawn: dict[str, str]) -> None:
    finding = FaceFinding(detector="d.onnx", pictures=997, without_face=tuple(f"{name}.jpg" for name in "abcdefg"))
    found = replace(full, context=replace(CONTEXT, finding=finding))
    said = "A face was found in 990 of 997 pictures (d.onnx); no figure counts the others: "
    for text in (format_evaluation(found), evaluation_page(found, drawn, [])):
        assert f"{said}a.jpg, b.jpg, c.jpg, d.jpg, e.jpg and 2 more." in text
    all_found = replace(CONTEXT, finding=replace(finding, without_face=()))
    assert "A face was found in 997 of 997 pictures (d.onnx).\n" in format_evaluation(replace(full, context=all_found))


def test_figures_are_the_same_each_time(full: Evaluation, drawn: dict[str, str]) -> None:
    assert figures(full) == drawn


def test_a_model_with_an_age_alone_has_fewer_sections(drawn: dict[str, str], page: str) -> None:
    plain = evaluate_predictions(
        Predictions.of(imaginary_faces([20.0, 30.0]), [21, 29]), replace(CONTEXT, nominal_coverage=None)
    )
    fewer = figures(plain)
    root = parsed(evaluation_page(plain, fewer, worst_faces(plain.predictions)))
    assert set(drawn) - set(fewer) == {"coverage_by_age", "reliability", "crop_sensitivity"}
    sections, all_sections = ({heading.text for heading in root.iter("h2")} for root in (root, parsed(page)))
    more = {"Prediction intervals", "Probabilities", "Crop sensitivity", "Duplicates and leakage"}
    assert all_sections - sections == more
    assert "Age gates" in sections


def test_names_cannot_steer_the_page_or_the_terminal(drawn: dict[str, str], full: Evaluation) -> None:
    nasty = "\"><script>alert('1')&amp;\x1b[31m\n"
    context = replace(CONTEXT, model=f"model{nasty}", data=f"data{nasty}", why=f"why{nasty}")
    face = replace(imaginary_face(99, 0), path=Path(f"/f/face{nasty}.jpg"))
    renamed = replace(full, context=context)
    page = evaluation_page(renamed, drawn, worst_faces(Predictions.of([face], [1.0])))
    text = format_evaluation(renamed)
    assert "<script" not in page
    assert "\x1b" not in page + text
    shown = nasty.replace("\x1b", r"\x1b").replace("\n", r"\n")  # as it is, but for what a terminal would act on
    root = parsed(page)
    everything = "".join(root.itertext())
    for name in ("model", "data", "why", "face"):
        assert f"{name}{shown}" in everything
    assert root.findtext("./head/title") == f"Evaluation of model{shown}"


def test_the_text_has_the_figures_and_their_n(full: Evaluation) -> None:
    text = format_evaluation(full)
    assert f"{full.overall.mae.value:.2f} ({full.overall.mae.low:.2f} to {full.overall.mae.high:.2f}) years" in text
    assert "900 different faces in 990 files, copies counted once: drawn by lot" in text
    assert "Skipped files: 2 (" in text
    assert "always predicts 49 years, the median age of the training faces" in text
    for group in [group for family in ("age", "gender", "race") for group in full.family(family)]:
        assert re.search(rf"^  {group.name} +{group.scores.n} ", text, re.MULTILINE)
    assert "interval coverage (nominal 90%)" in text
    finer = replace(full, context=replace(CONTEXT, nominal_coverage=0.995))
    assert "nominal 99.5%" in format_evaluation(finer)
    assert "Split file by file, " in text
    (gate,) = [gate for gate in full.gates if (gate.threshold, gate.challenge) == (18, 25)]
    (line,) = [line for line in text.splitlines() if "threshold 18, challenge age 25" in line]
    for rate, name in ((gate.false_positives, "FPR"), (gate.false_negatives, "FNR")):
        assert rate.share is not None
        assert f"{name} {rate.share.value:.1%} (" in line
        assert f"n={rate.n}" in line


def test_the_files_are_those_that_are_named(full: Evaluation, drawn: dict[str, str], tmp_path: Path) -> None:
    written = write_evaluation(full, tmp_path / "report")
    assert sorted(written) == sorted(path for path in (tmp_path / "report").rglob("*") if path.is_file())
    names = {path.relative_to(tmp_path / "report").as_posix() for path in written}
    drawings = {f"figures/{name}.svg" for name in drawn} | {"figures/worst_faces.jpg"}
    assert names == {"evaluation.html", "evaluation.json", "predictions.csv"} | drawings
    table = pd.read_csv(tmp_path / "report" / "predictions.csv")
    assert (table["age"] == full.predictions.age).all()
    with Image.open(tmp_path / "report" / "figures" / "worst_faces.jpg") as sheet:
        assert sheet.format == "JPEG"


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [(-0.001, True, "+0.00"), (-0.001, False, "0.00"), (1.005, True, "+1.00"), (-2, True, "-2.00")],
)
def test_nothing_is_minus_zero(value: float, signed: bool, text: str) -> None:
    assert decimal(value, signed=signed) == text
