"""What `evaluate` and `compare` return in a notebook: reports that show themselves, as text, HTML, frames and files."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from agedetect.evaluation.comparison import compare_predictions
from agedetect.evaluation.predictions import Predictions
from agedetect.evaluation.result import Context, evaluate_predictions
from agedetect.evaluation.scores import Scores
from agedetect.reports.report import ComparisonReport, EvaluationReport
from agedetect.reports.text import format_comparison, format_evaluation
from imaginary_faces import imaginary_faces

AGES = np.random.default_rng(1).integers(1, 90, 200).astype(float)
FACES = imaginary_faces(AGES.tolist(), groups=True)
NASTY = "<script>alert(1)</script>\x1b[31m"
CONTEXT = Context(model=f"model{NASTY}", data=f"data{NASTY}", split="test", why="drawn by lot", nominal_coverage=0.9)


def noisy(spread: float, seed: int) -> Predictions:
    age = AGES + np.random.default_rng(seed).normal(0, spread, len(AGES))
    return Predictions.of(FACES, age, age - 8, age + 8)


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    return EvaluationReport(evaluate_predictions(noisy(5, 1), CONTEXT))


@pytest.fixture(scope="module")
def comparison() -> ComparisonReport:
    names = (f"first{NASTY}", f"second{NASTY}")
    return ComparisonReport(compare_predictions(noisy(2, 1), noisy(6, 2), names=names, why="drawn by lot"))


def test_a_frame_has_every_group_with_the_evaluation_s_numbers(report: EvaluationReport) -> None:
    frame, result = report.to_frame(), report.result
    expected = [("overall", "all faces", result.overall)]
    expected += [(group.family, group.name, group.scores) for group in result.groups]
    assert list(zip(frame["family"], frame["group"], strict=True)) == [item[:2] for item in expected]
    metrics = [item.name for item in dataclasses.fields(Scores) if item.name != "n"]
    for row, (_, _, scores) in zip(frame.to_dict("records"), expected, strict=True):
        assert row["n"] == scores.n
        for name in metrics:
            figure = getattr(scores, name)
            wanted = (np.nan, None, None) if figure is None else figure
            for column, value in zip((name, f"{name}_low", f"{name}_high"), wanted, strict=True):
                np.testing.assert_equal(row[column], np.nan if value is None else value)
    assert len(frame.columns) == 3 + 3 * len(metrics)


def test_a_frame_of_predictions_has_a_row_a_face(report: EvaluationReport) -> None:
    frame, table = report.to_frame("predictions"), report.result.predictions
    assert list(frame["path"]) == [face.path for face in FACES]
    for column in ("true", "age", "low", "high", "error"):
        np.testing.assert_array_equal(frame[column], getattr(table, column))
    plain = EvaluationReport(evaluate_predictions(Predictions.of(FACES, AGES), CONTEXT)).to_frame("predictions")
    assert plain["low"].isna().all()
    assert list(plain.columns) == list(frame.columns)


def test_another_frame_is_refused(report: EvaluationReport) -> None:
    with pytest.raises(ValueError, match="no frame 'faces': ask for 'groups' or 'predictions'"):
        report.to_frame("faces")


def test_a_report_prints_as_the_command_does(report: EvaluationReport, comparison: ComparisonReport) -> None:
    assert str(report) == format_evaluation(report.result)
    assert str(comparison) == format_comparison(comparison.result)
    mae = report.result.overall.mae
    assert repr(report) == f"<EvaluationReport: MAE {mae.value:.2f} ({mae.low:.2f} to {mae.high:.2f}) years, n=200>"
    assert report.metrics == report.result.metrics()


def test_a_notebook_s_cell_shows_the_headline_and_figures(
    report: EvaluationReport, comparison: ComparisonReport
) -> None:
    for shown, figures, first in ((report, 2, "MAE"), (comparison, 1, "all faces")):
        html = shown._repr_html_()
        assert "<script" not in html
        assert "\x1b" not in html
        root = ElementTree.fromstring(html)
        sources = [image.get("src", "") for image in root.iter("img")]
        assert len(sources) == figures
        assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
        assert root.findtext(".//tbody/tr/td") == first
        style = root.findtext("style") or ""
        rules = [selector.strip() for line in style.split("}")[:-1] for selector in line.split("{")[0].split(",")]
        assert rules
        assert all(rule.startswith(".agedetect ") for rule in rules)  # no style of the notebook's own changes


def test_a_comparison_s_frame_has_its_numbers(comparison: ComparisonReport) -> None:
    rows = comparison.to_frame().to_dict("records")
    items = (comparison.result.overall, *comparison.result.groups)
    for row, item in zip(rows, items, strict=True):
        maes = (item.first_mae, item.second_mae)
        wanted = (item.group, item.n, *maes, *item.advantage, item.p_value, item.significant)
        assert tuple(row.values()) == wanted
    assert rows[0]["significant"]


def test_a_comparison_is_saved_as_a_page_and_json(comparison: ComparisonReport, tmp_path: Path) -> None:
    written = comparison.save(str(tmp_path / "report"))
    assert sorted(path.name for path in written) == ["comparison.html", "comparison.json"]
    assert sorted(written) == sorted((tmp_path / "report").iterdir())
    page = (tmp_path / "report" / "comparison.html").read_text()
    assert "<script" not in page
    assert "\x1b" not in page
    root = ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))
    assert (root.findtext(".//h1") or "").startswith("first<script>alert(1)</script>\\x1b[31m is better by ")
    assert len(root.findall(".//tbody/tr")) == 1 + len(comparison.result.groups)
    assert [image.get("src", "").split(",")[0] for image in root.iter("img")] == ["data:image/svg+xml;base64"]


def test_an_evaluation_is_saved_by_the_report(report: EvaluationReport, tmp_path: Path) -> None:
    written = report.save(tmp_path)
    assert sorted(written) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert tmp_path / "evaluation.html" in written
