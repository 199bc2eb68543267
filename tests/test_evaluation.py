"""An evaluation of predictors whose figures are known without measuring."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from agedetect.evaluation.metrics import measure
from agedetect.evaluation.predictions import Predictions
from agedetect.evaluation.result import Context, Evaluation, evaluate_predictions
from agedetect.evaluation.scores import score
from agedetect.reports.text import format_evaluation
from imaginary_faces import imaginary_faces

AGES = np.random.default_rng(7).integers(1, 90, 120).astype(float)
CONTEXT = Context(model="a model", data="faces", split="test", why="drawn by lot", nominal_coverage=0.9)


def evaluation(age: NDArray[np.float64], training_median: float | None = None) -> Evaluation:
    predictions = Predictions.of(imaginary_faces(AGES.tolist(), groups=True), age)
    return evaluate_predictions(predictions, CONTEXT, training_median=training_median)


def test_a_perfect_predictor_is_perfect_in_every_group() -> None:
    result = evaluation(AGES)
    for scores in [result.overall, *(group.scores for group in result.groups)]:
        assert scores.mae[0] == scores.bias[0] == scores.rmse[0] == 0
        assert (scores.mae.low, scores.mae.high) in [(0, 0), (None, None)]
        assert scores.within_5.value == scores.within_10.value == 1
    assert result.overall.r2 == (1, 1, 1)
    assert {share for _, share in result.curve} == {1}
    assert all(gate.false_positives.hits == 0 for gate in result.gates)
    assert all(gate.false_negatives.hits == 0 for gate in result.gates if gate.challenge == gate.threshold)


def test_a_constant_predictor_is_as_good_as_its_constant() -> None:
    result = evaluation(np.full(120, np.median(AGES)))
    assert result.overall.mae.value == pytest.approx(np.abs(AGES - np.median(AGES)).mean())
    assert result.overall.mae == result.median.mae  # the same answer, the same resamples
    assert result.overall.bias.value == pytest.approx(np.median(AGES) - AGES.mean())
    mean = evaluation(np.full(120, AGES.mean()))
    assert mean.overall.bias.value == pytest.approx(0, abs=1e-12)
    assert mean.overall.rmse.value == pytest.approx(AGES.std())
    assert mean.overall.r2 is not None
    assert mean.overall.r2.value == pytest.approx(0, abs=1e-12)
    passed = {
        gate.false_positives.hits == gate.false_positives.n
        for gate in result.gates
        if gate.challenge <= np.median(AGES)
    }
    assert passed == {True}


def test_shuffled_predictors_have_no_bias_and_an_r2_of_minus_one() -> None:
    """Over all cyclic shifts, each face is paired with each age once: the means are exact, not approximate."""
    faces = imaginary_faces(AGES.tolist())
    shifts = [score(Predictions.of(faces, np.roll(AGES, by))) for by in range(120)]
    assert all(item.bias.value == pytest.approx(0, abs=1e-12) for item in shifts)
    differences = np.abs(AGES[:, None] - AGES[None, :])
    assert np.mean([item.mae.value for item in shifts]) == pytest.approx(differences.mean())
    assert np.mean([item.r2.value for item in shifts if item.r2]) == pytest.approx(-1)


def test_scores_are_the_metrics_of_a_run() -> None:
    age = AGES + np.random.default_rng(1).normal(1, 6, 120)
    scores, metrics = evaluation(age).overall, measure(AGES, age)
    for name, value in metrics.to_dict().items():
        found = getattr(scores, name)
        assert found.value == value
        assert found.low < value < found.high


def test_a_group_is_scored_as_if_it_were_alone() -> None:
    age = AGES + np.random.default_rng(2).normal(0, 6, 120)
    result = evaluation(age)
    for group in result.family("gender"):
        members = slice(0 if group.name == "male" else 1, None, 2)
        assert group.scores.n == 60
        assert group.scores.mae.value == pytest.approx(np.abs(age - AGES)[members].mean())
    assert sum(group.scores.n for group in result.family("age")) == 120


def test_coverage_and_width_by_hand() -> None:
    faces = imaginary_faces([10, 20, 30, 40])
    table = Predictions.of(faces, [10, 20, 30, 40], [10, 21, 20, 30], [12, 25, 29.5, 40])
    scores = score(table)
    assert scores.coverage is not None
    assert scores.width is not None
    assert scores.coverage.value == 0.5
    assert scores.width.value == pytest.approx((2 + 4 + 9.5 + 10) / 4)
    assert score(Predictions.of(faces, [10, 20, 30, 40])).coverage is None


def test_the_median_is_that_of_training_where_it_is_known() -> None:
    own, given = evaluation(AGES).median, evaluation(AGES, training_median=20).median
    assert (own.age, own.of) == (np.median(AGES), "data")
    assert (given.age, given.of) == (20, "training")
    assert given.mae.value == pytest.approx(np.abs(AGES - 20).mean())


def test_the_curve_is_the_share_within_so_many_years() -> None:
    curve = dict(evaluation(AGES + 5).curve)
    assert (curve[4.5], curve[5.0], curve[20.0]) == (0, 1, 1)


def test_json_is_strict_and_every_figure_in_it_has_its_n() -> None:
    values = json.loads(evaluation(AGES + 3).to_json(), parse_constant=pytest.fail)
    assert values["overall"]["mae"] == {"value": 3, "low": 3, "high": 3}
    assert "predictions" not in values
    assert [group["scores"]["n"] for group in values["groups"] if group["family"] == "gender"] == [60, 60]
    assert {len(values["gates"]), values["n"]} == {80, 120}


def test_metrics_for_a_tracking_server_are_the_few_that_runs_are_compared_by() -> None:
    result = evaluation(AGES + np.random.default_rng(3).normal(0, 4, 120))
    metrics = result.metrics()
    assert metrics.keys() == {"mae", "bias", "mse", "rmse", "within_5", "within_10", "r2", "median_mae"}
    assert metrics["mae"] == result.overall.mae.value < metrics["median_mae"]
    assert all(isinstance(value, int | float) and np.isfinite(value) for value in metrics.values())


def test_one_face_is_enough() -> None:
    result = evaluate_predictions(Predictions.of(imaginary_faces([30]), [33.0]), CONTEXT)
    assert result.overall.mae == (3, None, None)
    assert result.overall.r2 is None
    json.loads(result.to_json(), parse_constant=pytest.fail)


def test_copies_of_a_face_change_no_figure_and_no_interval() -> None:
    faces = imaginary_faces(AGES.tolist(), groups=True)
    age = AGES + np.random.default_rng(3).normal(0, 4, len(AGES))
    threefold = [replace(face, path=Path(f"/{copy}/{face.path.name}")) for copy in "abc" for face in faces]
    once = evaluation(age)
    copied = evaluate_predictions(Predictions.of(threefold, np.tile(age, 3)), CONTEXT)
    assert (copied.files, copied.n) == (3 * len(faces), len(faces))
    assert (copied.overall, copied.groups, copied.curve) == (once.overall, once.groups, once.curve)
    assert copied.fingerprint != once.fingerprint
    assert "120 different faces in 360 files, copies counted once: drawn by lot" in format_evaluation(copied)
    assert "120 faces: drawn by lot" in format_evaluation(once)
