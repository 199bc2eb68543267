"""The model card: what it must say, and what it must not."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from agedetect.config import TrainConfig
from agedetect.data.faces import Face, FaceSet
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
MEDIAN = float(np.median([face.age for face in SPLITS.train]))
CONFIG = TrainConfig(data_dir="/somebody/faces", weights="/somebody/weights/resnet.pth", epochs=7, head_epochs=2)


def predictions(faces: tuple[Face, ...]) -> Predictions:
    true = np.array([face.age for face in faces])
    age = np.clip(true + np.random.default_rng(0).normal(0, 5, len(true)), 0, 116)
    chances = np.exp(-0.5 * ((np.arange(117) - age[:, None]) / 5) ** 2)
    return Predictions.of(faces, age, age - 8, age + 8, chances / chances.sum(axis=1, keepdims=True))


@pytest.fixture(scope="module")
def result() -> Evaluation:
    return evaluate_run(
        predictions(SPLITS.test),
        SPLITS,
        FACE_SET,
        model="agedetect",
        nominal_coverage=0.9,
        training_median=MEDIAN,
        duplicates=None,
    )


@pytest.fixture(scope="module")
def text(result: Evaluation) -> str:
    spec = dataclasses.replace(tiny_spec(coverage=0.9), head="distribution")
    return card(spec, result, CONFIG.to_dict(), SPLITS, FACE_SET, licence="for research only")


def cells(text: str, first: str) -> list[str]:
    """Those of the one table row that `first` begins."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    (row,) = [row for row in rows if row[0] == first]
    return row


def test_it_says_data_splits_recipe_licence_use_and_limits(text: str) -> None:
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    wanted = ["Intended use", "Data", "Recipe", "Results on the test split", "Age gates"]
    assert headings == [f"## {name}" for name in [*wanted, "Prediction intervals", "Probabilities", "Limits"]]
    assert "for research only" in text
    assert SPLITS.fingerprint in text
    assert SPLITS.test_fingerprint in text
    assert cells(text, "training")[1] == "640"
    assert cells(text, "epochs")[1] == "7"


def test_it_says_which_pictures_the_model_takes_and_for_which_its_figures_hold(text: str) -> None:
    use = " ".join(text.partition("## Intended use\n")[2].partition("## ")[0].split())
    assert "one face per picture" in use
    assert "`agedetect-infer --find-faces` finds and aligns the faces of any picture" in use
    assert "hold for pictures like those of its test set" in use
    assert "other people's pictures is in agedetect's docs/results.md" in use


def test_its_figures_are_the_evaluation_s_with_their_n(text: str, result: Evaluation) -> None:
    mae = result.overall.mae
    assert cells(text, "MAE")[1:] == [f"{mae.value:.2f} ({mae.low:.2f} to {mae.high:.2f}) years", "80"]
    for group in result.family("race"):
        assert cells(text.split("## Age gates")[0], group.name)[1] == str(group.scores.n)
    for gate in result.gates:
        if (gate.threshold, gate.challenge) == (18, 25):
            (row,) = re.findall(r"^\| 18 +\| 25 +\|(.*)\|$", text, re.MULTILINE)
            rates = (gate.false_positives, gate.false_positives_near, gate.false_negatives)
            assert [cell.strip() for cell in row.split("|")][1::2] == [str(rate.n) for rate in rates]


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
    result = evaluate_run(
        plain, SPLITS, FACE_SET, model="m", nominal_coverage=None, training_median=50, duplicates=None
    )
    text = card(tiny_spec(), result, CONFIG.to_dict(), SPLITS, FACE_SET, licence="free")
    assert cells(text, "MSE")[1].endswith(" years²")
    assert "## Prediction intervals" not in text
    assert "## Probabilities" not in text
    assert "Output: the age in years." in text


def test_a_run_is_compared_with_the_median_of_its_training_faces(result: Evaluation, text: str) -> None:
    assert (result.median.of, result.median.age) == ("training", MEDIAN)
    assert f"The median baseline always predicts {MEDIAN:g} years" in text
    assert result.fingerprint == SPLITS.test_fingerprint
    assert result.leakage is not None
    assert result.leakage.leaked == 0  # imaginary faces are all different
