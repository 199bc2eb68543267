"""The table of predictions: what it holds, and that its file gives it back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from agedetect.data.splits import split_faces
from agedetect.evaluation.predictions import COLUMNS, Predictions, write_predictions
from imaginary_faces import imaginary_faces


def full(count: int = 12) -> Predictions:
    random = np.random.default_rng(0)
    faces = imaginary_faces(random.uniform(0, 90, count).tolist(), groups=True)
    age = random.uniform(0, 90, count)
    return Predictions.of(faces, age, age - 4, age + 5, random.dirichlet(np.ones(6), count), min_age=10)


def test_the_file_holds_every_digit(tmp_path: Path) -> None:
    written = full()
    write_predictions(written, tmp_path / "predictions.csv")
    read = pd.read_csv(tmp_path / "predictions.csv")
    assert tuple(read.columns) == (*COLUMNS, *(f"p_{year}" for year in range(10, 16)))
    for name in ("true", "age", "low", "high"):
        assert (read[name] == getattr(written, name)).all()
    assert (read.filter(like="p_").to_numpy() == written.probabilities).all()
    for name in ("digest", "gender", "race"):
        assert read[name].tolist() == [getattr(face, name) for face in written.faces]
    assert read["path"].tolist() == [str(face.path) for face in written.faces]


def test_what_a_model_does_not_give_and_nobody_knows_is_empty(tmp_path: Path) -> None:
    write_predictions(Predictions.of(imaginary_faces([3, 4.5]), [4, 5]), tmp_path / "p.csv")
    read = pd.read_csv(tmp_path / "p.csv")
    assert read[["low", "high", "gender", "race"]].isna().all(axis=None)
    assert tuple(read.columns) == COLUMNS


def test_the_probability_of_an_age_is_the_sum_from_it_on() -> None:
    table = Predictions.of(imaginary_faces([30]), [12], None, None, [[0.1, 0.2, 0.3, 0.4]], min_age=10)
    assert [table.at_least(age)[0] for age in (5, 10, 11, 12.5, 13, 14)] == pytest.approx([1, 1, 0.9, 0.4, 0.4, 0])
    with pytest.raises(ValueError, match="no probabilities"):
        Predictions.of(imaginary_faces([30]), [12]).at_least(18)


def test_its_fingerprint_is_that_of_the_test_side() -> None:
    splits = split_faces(imaginary_faces(range(40)))
    table = Predictions.of(splits.test, [0.0] * len(splits.test))
    assert table.fingerprint == splits.test_fingerprint


def test_rows_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="do not match"):
        Predictions.of(imaginary_faces([1, 2]), [1])


def test_faces_of_one_photograph_are_a_cluster() -> None:
    one, other, third = imaginary_faces([20, 30, 40])
    faces = [one, other, replace(one, path=Path("/f/again.jpg")), replace(third, near="one photograph")]
    faces += [replace(third, digest="0", near="one photograph")]
    assert Predictions.of(faces, [0] * 5).clusters.tolist() == [0, 1, 0, 3, 3]


def test_copies_count_once_with_the_mean_of_their_ages() -> None:
    one, other = imaginary_faces([20, 30])
    faces = [one, other, replace(one, path=Path("/f/again.jpg"), age=24.0)]
    every = Predictions.of(
        faces, [21, 33, 21], [10, 20, 10], [40, 50, 40], [[0.5, 0.5], [1.0, 0.0], [0.5, 0.5]], min_age=3
    )
    once = every.once()
    assert [(face.path, face.age) for face in once.faces] == [(one.path, 22), (other.path, 30)]
    assert once.low is not None
    assert once.high is not None
    assert once.probabilities is not None
    columns = (once.age, once.low, once.high, once.probabilities)
    assert [column.tolist() for column in columns] == [[21, 33], [10, 20], [40, 50], [[0.5, 0.5], [1, 0]]]
    assert once.min_age == 3
    assert once.once() is once
