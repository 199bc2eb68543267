"""Crop sensitivity of predictors whose error under each movement is known: they read a square's place and size."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from agedetect.cli import main
from agedetect.data.faces import read_faces
from agedetect.evaluation.bootstrap import IntervalEstimate
from agedetect.evaluation.evaluate import no_bar
from agedetect.evaluation.predictions import Predictions
from agedetect.evaluation.predictor import Batch, Predictor, Progress
from agedetect.evaluation.sensitivity import (
    AMOUNTS,
    JITTER,
    PREDICTIONS_A_FACE,
    CropSensitivity,
    MovedFaces,
    crop_sensitivity,
    movement,
)
from agedetect_runtime.session import Ages
from tiny_models import tiny_spec

SIDE, INPUT = 200, 64
TOLERANCE = 0.35  # years: a hundredth of the side is a year, and a pixel of the input 1.6; bilinear keeps centres


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Predictions:
    """The predictions of `where` for forty pictures of a red square in the middle, on a blue of their own, aged 40.

    They count as forty photographs, alike as they are.
    """
    folder = tmp_path_factory.mktemp("squares")
    for number in range(40):
        pixels = np.full((SIDE, SIDE, 3), (0, 0, 3 * number), np.uint8)
        pixels[80:120, 80:120, 0] = 255
        Image.fromarray(pixels).save(folder / f"40_0_0_{number}.png")
    return where.predict([replace(face, near=None) for face in read_faces(folder).faces])


def red(batch: Batch) -> NDArray[np.float64]:
    return batch[:, :, :, 0].astype(np.float64) / 255


def column(batch: Batch) -> Ages:
    """A hundredth of the side from the left is a year: 50 in the middle."""
    weights = red(batch)
    at = (np.arange(INPUT) + 0.5) / INPUT * 100
    return Ages(((weights * at).sum((1, 2)) / weights.sum((1, 2))).astype(np.float32), None, None)


def size(batch: Batch) -> Ages:
    """The square's side in hundredths of the picture's, and 20 years: 40 as it is."""
    return Ages((100 * red(batch).mean((1, 2)) ** 0.5 + 20).astype(np.float32), None, None)


def predictor(function: object) -> Predictor:
    assert callable(function)
    return Predictor(name="squares", spec=tiny_spec(INPUT), predict_fn=function)


where, how_large = predictor(column), predictor(size)


def measured(model: Predictor, unmoved: Predictions, count: int = 100) -> CropSensitivity:
    return crop_sensitivity(model, unmoved, count, flip_tta=False, open_bar=no_bar)


def test_a_shift_costs_what_it_must_and_size_and_turn_nothing(faces: Predictions) -> None:
    """The age is the square's column, 10 years too high; a shift by d to the angle a moves it by 100 d cos(a)."""
    found = measured(where, faces)
    assert found.n == 40
    assert found.mae.value == pytest.approx(10, abs=TOLERANCE)
    assert len(found.steps) + 1 == PREDICTIONS_A_FACE
    for step in found.steps:
        moves = [100 * movement(face, step.factor, step.amount).right for face in faces.faces]
        expected = np.abs(10 + np.array(moves)).mean()
        assert step.mae.value == pytest.approx(expected, abs=TOLERANCE)
        assert step.growth.value == pytest.approx(expected - 10, abs=TOLERANCE)
        assert step.factor == "shift" or abs(step.growth.value) < TOLERANCE
    wide = next(step for step in found.steps if (step.factor, step.amount) == ("shift", 0.15))
    assert wide.growth.low is not None
    assert wide.growth.high is not None
    # 40 directions, each moving the age by up to 15 years, 10.6 as a standard deviation: 1.96 x 10.6 / sqrt(40) = 3.3
    assert wide.growth.high - wide.growth.low == pytest.approx(2 * 3.3, rel=0.3)
    assert np.std([100 * movement(face, "shift", 0.15).right for face in faces.faces]) == pytest.approx(10.6, rel=0.2)


def test_another_size_costs_what_it_must_and_a_shift_nothing(faces: Predictions) -> None:
    found = measured(how_large, how_large.predict(faces.faces))
    assert found.mae.value == pytest.approx(0, abs=TOLERANCE)
    for step in found.steps:
        expected = abs(20 * step.amount - 20) if step.factor == "size" else 0.0
        assert step.growth.value == pytest.approx(expected, abs=TOLERANCE)
    scales = [movement(face, "random", 1.0).scale for face in faces.faces]
    assert found.random.growth.value == pytest.approx(np.abs(20 * np.array(scales) - 20).mean(), abs=TOLERANCE)
    assert found.verdict == "missed"


def test_a_random_movement_stays_within_its_bounds_and_comes_near_them(faces: Predictions) -> None:
    moves = np.array([movement(face, "random", 1.0) for face in faces.faces]) - (1, 0, 0, 0)
    most = np.abs(moves).max(axis=0) / JITTER
    assert (most <= 1).all()
    assert (most > 0.8).all()  # of 40 uniform draws: a chance of 0.8^40 to stay below


def test_a_sample_and_its_movements_do_not_depend_on_the_order(faces: Predictions) -> None:
    back = Predictions.of(faces.faces[::-1], faces.age[::-1])
    one, other = measured(where, faces, 12), measured(where, back, 12)
    assert one == other
    assert one.n == 12
    assert one.random != measured(where, faces, 11).random


def test_files_of_one_photograph_are_resampled_together(faces: Predictions) -> None:
    """All forty of one: there is nothing to resample."""
    alike = Predictions.of([replace(face, near="one") for face in faces.faces], faces.age)
    assert measured(where, faces, 12).random.growth.low is not None
    assert measured(where, alike, 12).random.growth.low is None


def test_the_bar_counts_every_prediction(faces: Predictions) -> None:
    counted: list[int] = []
    totals: list[int] = []

    def bar(label: str, images: int) -> AbstractContextManager[Progress]:
        totals.append(images)
        return nullcontext(counted.append)

    crop_sensitivity(where, faces, 10, flip_tta=False, open_bar=bar)
    assert totals == [sum(counted)] == [10 * PREDICTIONS_A_FACE]


@pytest.mark.parametrize(
    ("growth", "verdict"),
    [
        ((0.1, 0.05, 0.19), "met"),
        ((0.1, -0.1, 0.3), "undecided"),
        ((0.3, 0.1, 0.5), "undecided"),
        ((0.3, 0.2, 0.5), "missed"),
        ((0.1, None, None), "undecided"),
    ],
)
def test_the_aim_is_met_or_missed_by_the_whole_interval(
    growth: tuple[float, float | None, float | None], verdict: str
) -> None:
    mae = IntervalEstimate(5, 4, 6)
    found = CropSensitivity(n=9, mae=mae, steps=(), random=MovedFaces("random", 1, mae, IntervalEstimate(*growth)))
    assert found.verdict == verdict


def test_every_factor_goes_to_its_bounds_and_the_cost_is_said() -> None:
    assert (min(AMOUNTS["size"]), max(AMOUNTS["size"])) == (0.7, 1.4)
    assert (max(AMOUNTS["shift"]), max(AMOUNTS["turn"])) == (0.15, 30)
    assert f"{PREDICTIONS_A_FACE} predictions for each" in " ".join(
        CliRunner().invoke(main, ["evaluate", "--help"]).output.split()
    )
