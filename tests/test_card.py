"""The model card: what it must say, and what it must not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from agedetect.config import TrainConfig
from agedetect.data.faces import FaceSet
from agedetect.data.splits import split_faces
from agedetect.evaluation.evaluate import evaluate_run
from agedetect.evaluation.predictions import Predictions
from agedetect.evaluation.result import Evaluation
from agedetect.reports.model_card import card
from imaginary_faces import imaginary_faces
from tiny_models import tiny_spec

FACES = imaginary_faces(np.random.default_rng(1).integers(1, 90, 800).astype(float).tolist(), groups=True)
SPLITS = split_faces(FACES)
FACE_SET = FaceSet(tuple(FACES), (), "/somebody/faces")
CONFIG = TrainConfig(data_dir="/somebody/faces", weights="/somebody/weights/resnet.pth", epochs=7, head_epochs=2)


def answers(faces: tuple) -> Predictions:
    true = np.array([face.age for face in faces])
    age = np.clip(true + np.random.default_rng(0).normal(0, 5, len(true)), 0, 116)
    chances = np.exp(-0.5 * ((np.arange(117) - age[:, None]) / 5) ** 2)
    return Predictions.of(faces, age, age - 8, age + 8, chances / chances.sum(axis=1, keepdims=True))


@pytest.fixture(scope="module")
def result() -> Evaluation:
    return evaluate_run(
        answers(SPLITS.test),
        SPLITS,
        FACE_SET,
        model="agedetect",
        nominal_coverage=0.9,
        training_median=50,
        duplicates=None,
    )


@pytest.fixture(scope="module")
def text(result: Evaluation) -> str:
    spec = dataclasses.replace(tiny_spec(coverage=0.9), head="distribution")
    return card(spec, result, CONFIG.to_dict(), SPLITS, FACE_SET, licence="for research only")


def cells(text: str, first: str) -> list[str]:
    (row,) = [line for line in text.splitlines() if line.startswith(f"| {first} ")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_it_says_data_splits_recipe_licence_use_and_limits(text: str) -> None:
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    wanted = ["Intended use", "Data", "Recipe", "Results on the test split", "Age gates", "Intervals", "Probabilities"]
    assert headings == [f"## {name}" for name in [*wanted, "Limits"]]
    assert "for research only" in text
    assert SPLITS.fingerprint in text
    assert SPLITS.test_fingerprint in text
    assert cells(text, "training")[1] == "640"
    assert cells(text, "epochs")[1] == "7"


def test_its_figures_are_the_evaluation_s_with_their_n(text: str, result: Evaluation) -> None:
    mae = result.overall.mae
    assert cells(text, "MAE (years)")[1:] == [f"{mae.value:.2f} ({mae.low:.2f} to {mae.high:.2f})", "80"]
    for group in result.family("race"):
        assert cells(text.split("## Age gates")[0], group.name)[1] == str(group.scores.n)
    for gate in result.gates:
        if (gate.threshold, gate.challenge) == (18, 25):
            assert f"n={gate.false_positives.n}" in next(
                line for line in text.splitlines() if "| 18 " in line and "| 25 " in line
            )


def test_it_names_no_place_of_the_machine_that_trained(text: str) -> None:
    assert "/somebody" not in text
    assert cells(text, "weights")[1] == "resnet.pth"


def test_tables_line_up_on_a_terminal(text: str) -> None:
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) >= 8
    for lines in blocks:
        assert {len(line) for line in lines} == {len(lines[0])}


def test_a_model_with_an_age_alone_promises_nothing_else() -> None:
    plain = Predictions.of(SPLITS.test, [face.age + 1 for face in SPLITS.test])
    judged = evaluate_run(
        plain, SPLITS, FACE_SET, model="m", nominal_coverage=None, training_median=50, duplicates=None
    )
    text = card(tiny_spec(), judged, CONFIG.to_dict(), SPLITS, FACE_SET, licence="free")
    assert "## Intervals" not in text
    assert "## Probabilities" not in text
    assert "It answers with the age in years." in text


def test_a_run_is_judged_beside_the_median_of_its_training_faces(result: Evaluation) -> None:
    assert (result.median.of, result.median.age) == ("training", np.median([face.age for face in SPLITS.train]))
    assert result.fingerprint == SPLITS.test_fingerprint
    assert result.leakage is not None
    assert result.leakage.leaked == 0  # imaginary faces are all different
