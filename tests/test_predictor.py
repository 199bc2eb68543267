"""Models asked about labelled faces: exported and registered ones, through the one preprocessing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from agedetect.data.faces import Face, read_faces
from agedetect.errors import DataError
from agedetect.evaluation.predictor import BATCH, Predictor, open_predictor, predict
from agedetect_export.registry import Source
from agedetect_runtime import AgedetectError, ModelError
from agedetect_runtime.images import load_face
from export_source import SIZE, Store
from tiny_images import save_noise
from tiny_models import age_by_hand, tiny_spec, write_tiny_model

pytest_plugins = ["export_store"]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> tuple[Face, ...]:
    """More than two batches of them."""
    folder = tmp_path_factory.mktemp("noise")
    for number in range(2 * BATCH + 3):
        save_noise(folder / f"{number + 1}_0_0_{number}.png", number, (40, 40))
    return read_faces(folder).faces


def left_and_right(coverage: float | None = None) -> Predictor:
    """Its age is the mean level of the left half of the face: a mirror image has another."""

    def ask(batch: np.ndarray) -> np.ndarray:
        ages = batch[:, :, : batch.shape[2] // 2].mean(axis=(1, 2, 3))[:, None]
        return ages if coverage is None else np.hstack([ages, ages - 1, ages + 2])

    return Predictor("left", tiny_spec(coverage=coverage), ask)


def test_an_onnx_file_answers_for_every_face_in_order(tmp_path: Path, faces: tuple[Face, ...]) -> None:
    model = write_tiny_model(tmp_path / "age.onnx", coverage=0.9)
    counted: list[int] = []
    answers = predict(open_predictor(str(model)), faces, done=counted.append)
    wanted = [age_by_hand(load_face(face.path, 32, "bilinear")) for face in faces]
    assert answers.age == pytest.approx(wanted, abs=1e-4)  # float32 sums of 1024 pixels
    assert answers.low == pytest.approx(answers.age - 5, abs=1e-4)
    assert answers.high == pytest.approx(answers.age + 5, abs=1e-4)
    assert answers.faces == faces
    assert counted == [BATCH, BATCH, 3]


def test_a_registered_model_answers_as_its_program(store: Store, source: Source, faces: tuple[Face, ...]) -> None:
    predictor = open_predictor("models:/agedetect@candidate")
    answers = predict(predictor, faces[:5])
    batch = np.stack([load_face(face.path, SIZE, source.spec.resampling) for face in faces[:5]])
    with torch.no_grad():
        wanted = source.program(torch.from_numpy(batch)).numpy()
    assert answers.age == pytest.approx(wanted, abs=1e-5)  # float32 near 60 years
    assert (answers.low, answers.probabilities) == (None, None)
    assert predictor.name == "agedetect version 1"


def test_flip_averaging_is_the_mean_of_both_images(faces: tuple[Face, ...]) -> None:
    predictor = left_and_right(coverage=0.9)
    plain, both = predict(predictor, faces), predict(predictor, faces, flip_tta=True)
    whole = [load_face(face.path, 32, "bilinear").mean() for face in faces]
    assert both.age == pytest.approx(whole)
    assert plain.age != pytest.approx(whole)
    assert both.high is not None
    assert both.high == pytest.approx(both.age + 2)


def test_columns_of_a_distribution_are_told_apart(faces: tuple[Face, ...]) -> None:
    spec = dataclasses.replace(tiny_spec(coverage=0.9), head="distribution", min_age=10, max_age=12)
    predictor = Predictor("d", spec, lambda batch: np.tile([11.0, 10.0, 12.0, 0.2, 0.3, 0.5], (len(batch), 1)))
    answers = predict(predictor, faces[:2])
    assert answers.at_least(11) == pytest.approx([0.8, 0.8])
    assert answers.high is not None
    assert (answers.age[0], answers.high[0]) == (11, 12)


def test_an_answer_that_is_no_number_names_its_face(faces: tuple[Face, ...]) -> None:
    predictor = Predictor("n", tiny_spec(), lambda batch: np.full((len(batch), 1), np.nan))
    with pytest.raises(ModelError, match=f"n: its answer for {faces[0].path} is not a number"):
        predict(predictor, faces)


def test_a_face_that_went_away_is_named(tmp_path: Path) -> None:
    path = save_noise(tmp_path / "5_0_0_1.png", 1)
    faces = read_faces(tmp_path).faces
    path.unlink()
    with pytest.raises(DataError, match=r"5_0_0_1\.png: "):
        predict(left_and_right(), faces)


@pytest.mark.parametrize("model", ["missing.onnx", "nowhere", "models:/nobody@candidate"])
def test_a_model_that_is_not_there_is_one_line(store: Store, model: str) -> None:
    with pytest.raises(AgedetectError) as caught:
        open_predictor(model)
    assert "\n" not in str(caught.value)
