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

from agedetect.data.splits import split_faces
from agedetect.evaluation.leakage import estimate_leakage, training_duplicates
from agedetect.evaluation.predictions import Predictions
from agedetect.evaluation.result import Context, Evaluation, evaluate_predictions
from agedetect.reports import figures as evaluation_plots
from agedetect.reports import trust_plots
from agedetect.reports.evaluation_page import evaluation_page
from agedetect.reports.figures import figures
from agedetect.reports.text import decimal, format_evaluation
from agedetect.reports.write import write_evaluation
from imaginary_faces import imaginary_face, imaginary_faces

CONTEXT = Context(
    model="agedetect version 3", data="faces", split="test", why="drawn by lot", nominal_coverage=0.9, skipped=2
)


def predictions(faces: list, seed: int = 0) -> Predictions:
    true = np.array([face.age for face in faces])
    age = np.clip(true + np.random.default_rng(seed).normal(0, 5, len(true)), 0, 100)
    chances = np.exp(-0.5 * ((np.arange(117) - age[:, None]) / 5) ** 2)
    return Predictions.of(faces, age, age - 8, age + 8, chances / chances.sum(axis=1, keepdims=True))


@pytest.fixture(scope="module")
def full() -> Evaluation:
    """Every section: groups and intersections, gates, intervals, probabilities, a leakage."""
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
    )


@pytest.fixture(scope="module")
def drawn(full: Evaluation) -> dict[str, str]:
    return figures(full)


def test_the_page_fetches_and_runs_nothing(full: Evaluation, drawn: dict[str, str]) -> None:
    page = evaluation_page(full, drawn)
    addresses = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)|url\(([^)]*)\)|@import""", page)
    assert len(addresses) == len(drawn)
    assert all(address[0].startswith("data:image/svg+xml;base64,") for address in addresses)
    assert not re.search(r"https?:|<script|<link|<iframe|\bon\w+=", page)
    for svg in drawn.values():  # an image's own references are to parts of itself, or hold their data
        assert all(part.startswith(("#", "data:")) for part in re.findall(r'href="([^"]*)"', svg))
        assert "<script" not in svg


def test_the_page_is_well_formed(full: Evaluation, drawn: dict[str, str]) -> None:
    page = evaluation_page(full, drawn)
    ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))
    for data in re.findall(r"base64,([^\"]+)", page):
        ElementTree.fromstring(base64.b64decode(data))


def test_every_table_row_has_its_n(full: Evaluation, drawn: dict[str, str]) -> None:
    root = ElementTree.fromstring(evaluation_page(full, drawn).removeprefix("<!DOCTYPE html>\n"))
    tables = root.findall(".//table")
    assert len(tables) == 3 + len([family for family in full.omitted if full.family(family)]) + 2 + 5
    for table in tables:
        heading = [cell.text for cell in table.findall("./thead/tr/th")]
        counts = [place for place, name in enumerate(heading) if name == "n"]
        assert counts
        for row in table.findall("./tbody/tr"):
            cells = [cell.text or "" for cell in row.findall("td")]
            assert len(cells) == len(heading)
            assert all(cells[place].replace(",", "").isdigit() for place in counts)


def test_every_figure_says_how_many_faces_it_shows(full: Evaluation) -> None:
    for draw in (
        evaluation_plots.predicted_against_true,
        evaluation_plots.error_by_age,
        evaluation_plots.error_by_group,
        evaluation_plots.cumulative_score,
        trust_plots.coverage_by_age,
        trust_plots.reliability_curve,
    ):
        assert "n = 990" in draw(full).axes[0].get_title(loc="right")
    left, right = trust_plots.age_gates(full).axes
    labels = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in (left, right)]
    gates = [gate for gate in full.gates if gate.challenge == gate.threshold]
    assert labels[0] == [f"{gate.threshold} (n={gate.false_positives.n:,})" for gate in gates]
    assert labels[1] == [f"{gate.threshold} (n={gate.false_negatives.n:,})" for gate in gates]


def test_the_gates_curve_is_the_gates(full: Evaluation) -> None:
    left, _ = trust_plots.age_gates(full).axes
    eighteen = next(line for line in left.lines if str(line.get_label()).startswith("18 "))
    gates = [gate for gate in full.gates if gate.threshold == 18]
    assert list(eighteen.get_xdata()) == list(range(18, 34))
    assert list(eighteen.get_ydata()) == [
        100 * gate.false_positives.share.value for gate in gates if gate.false_positives.share
    ]


def test_figures_are_the_same_each_time(full: Evaluation, drawn: dict[str, str]) -> None:
    assert figures(full) == drawn


def test_a_model_with_an_age_alone_has_fewer_sections(drawn: dict[str, str]) -> None:
    plain = evaluate_predictions(
        Predictions.of(imaginary_faces([20.0, 30.0]), [21, 29]), replace(CONTEXT, nominal_coverage=None)
    )
    fewer = figures(plain)
    page = evaluation_page(plain, fewer)
    assert set(drawn) - set(fewer) == {"coverage_by_age", "reliability"}
    assert "<h2>Age gates</h2>" in page
    assert not {"<h2>Intervals</h2>", "<h2>Probabilities</h2>", "<h2>Duplicates kept apart</h2>"} & set(
        page.splitlines()
    )


def test_names_cannot_steer_the_page_or_the_terminal(drawn: dict[str, str], full: Evaluation) -> None:
    nasty = replace(full, context=replace(CONTEXT, model="<b>x</b>\x1b[31m", data='"><script>'))
    page, text = evaluation_page(nasty, drawn), format_evaluation(nasty)
    assert "<b>x</b>" not in page
    assert "<script" not in page
    assert "\x1b" not in page + text


def test_the_text_has_the_figures_and_their_n(full: Evaluation) -> None:
    text = format_evaluation(full)
    assert f"{full.overall.mae.value:.2f} ({full.overall.mae.low:.2f} to {full.overall.mae.high:.2f}) years" in text
    assert "990 faces: drawn by lot" in text
    assert "2 files gave no face" in text
    assert "always answering 49, the median of the training" in text
    for group in [group for family in ("age", "gender", "race") for group in full.family(family)]:
        assert re.search(rf"^  {group.name} +{group.scores.n} ", text, re.MULTILINE)
    assert "90% promised" in text
    finer = replace(full, context=replace(CONTEXT, nominal_coverage=0.995))
    assert "99.5% promised" in format_evaluation(finer)
    assert "Split file by file, " in text


def test_the_files_are_those_that_are_named(full: Evaluation, tmp_path: Path) -> None:
    written = write_evaluation(full, tmp_path / "report")
    assert sorted(written) == sorted(path for path in (tmp_path / "report").rglob("*") if path.is_file())
    assert {path.name for path in written} >= {"evaluation.html", "evaluation.json", "predictions.csv", "age_gates.svg"}
    table = pd.read_csv(tmp_path / "report" / "predictions.csv")
    assert (table["age"] == full.predictions.age).all()


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [(-0.001, True, "+0.00"), (-0.001, False, "0.00"), (1.005, True, "+1.00"), (-2, True, "-2.00")],
)
def test_nothing_is_minus_zero(value: float, signed: bool, text: str) -> None:
    assert decimal(value, signed=signed) == text
