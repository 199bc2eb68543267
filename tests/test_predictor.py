"""Predictions of exported and registered models for labelled faces, through the one preprocessing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agedetect import load_model
from agedetect.data.faces import Face, read_faces
from agedetect.errors import DataError
from agedetect.evaluation.predictor import BATCH, Batch, Predictor
from agedetect.tracking.reading import RegisteredModel
from agedetect_runtime import AgedetectError, ModelError
from agedetect_runtime.images import load_face
from agedetect_runtime.session import Ages
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

    def predict(batch: Batch) -> Ages:
        ages = batch[:, :, : batch.shape[2] // 2].mean(axis=(1, 2, 3), dtype=np.float32)
        return Ages(ages, None, None) if coverage is None else Ages(ages, ages - 1, ages + 2)

    return Predictor(name="left", spec=tiny_spec(coverage=coverage), predict_fn=predict)


def constant(values: Ages) -> Callable[[Batch], Ages]:
    """Predicts the same for each face; `values` are those of one face, with a first dimension of 1."""

    def repeated(value: NDArray[np.float32] | None, count: int) -> Any:
        return None if value is None else np.repeat(value, count, axis=0)

    return lambda batch: Ages(*(repeated(value, len(batch)) for value in values))


def test_an_onnx_file_answers_for_every_face_in_order(tmp_path: Path, faces: tuple[Face, ...]) -> None:
    model = write_tiny_model(tmp_path / "age.onnx", coverage=0.9)
    counted: list[int] = []
    found = load_model(model).predict(faces, progress=counted.append)
    wanted = [age_by_hand(load_face(face.path, 32, "bilinear")) for face in faces]
    assert found.age == pytest.approx(wanted, abs=1e-4)  # float32 sums of 1024 pixels
    assert found.low == pytest.approx(found.age - 5, abs=1e-4)
    assert found.high == pytest.approx(found.age + 5, abs=1e-4)
    assert found.faces == faces
    assert counted == [BATCH, BATCH, 3]


def test_a_registered_model_predicts_as_its_network(
    store: Store, registered: RegisteredModel, faces: tuple[Face, ...]
) -> None:
    model = load_model("models:/agedetect@candidate")
    found = model.predict(faces[:5])
    wanted = registered.network.predict(
        np.stack([load_face(face.path, SIZE, registered.spec.resampling) for face in faces[:5]])
    )
    np.testing.assert_array_equal(found.age, wanted.age)
    np.testing.assert_array_equal(found.probabilities, wanted.probabilities)
    assert model.name == "agedetect version 1"
    assert load_model(model) is model


def test_test_time_flip_is_the_mean_of_both_images(faces: tuple[Face, ...]) -> None:
    predictor = left_and_right(coverage=0.9)
    plain, both = predictor.predict(faces), predictor.predict(faces, flip_tta=True)
    whole = [load_face(face.path, 32, "bilinear").mean() for face in faces]
    assert both.age == pytest.approx(whole, abs=1e-4)  # float32 means
    assert plain.age != pytest.approx(whole)
    assert both.high is not None
    assert both.high == pytest.approx(both.age + 2)


def test_columns_of_a_distribution_are_told_apart(faces: tuple[Face, ...]) -> None:
    spec = dataclasses.replace(tiny_spec(coverage=0.9), head="distribution", min_age=10, max_age=12)
    row = Ages(*(np.array([value], np.float32) for value in (11, 10, 12, [0.2, 0.3, 0.5])))
    found = Predictor(name="d", spec=spec, predict_fn=constant(row)).predict(faces[:2])
    assert found.at_least(11) == pytest.approx([0.8, 0.8])
    assert found.high is not None
    assert (found.age[0], found.high[0]) == (11, 12)


def test_a_prediction_that_is_no_number_names_its_face(faces: tuple[Face, ...]) -> None:
    nan = Ages(np.array([np.nan], np.float32), None, None)
    with pytest.raises(ModelError, match=f"n: its prediction for {faces[0].path} is not a number"):
        Predictor(name="n", spec=tiny_spec(), predict_fn=constant(nan)).predict(faces)


def test_a_face_that_went_away_is_named(tmp_path: Path) -> None:
    path = save_noise(tmp_path / "5_0_0_1.png", 1)
    faces = read_faces(tmp_path).faces
    path.unlink()
    with pytest.raises(DataError, match=r"5_0_0_1\.png: "):
        left_and_right().predict(faces)


@pytest.mark.parametrize("model", ["missing.onnx", "nowhere", "models:/nobody@candidate"])
def test_a_model_that_is_not_there_is_one_line(store: Store, model: str) -> None:
    with pytest.raises(AgedetectError) as caught:
        load_model(model)
    assert "\n" not in str(caught.value)
