"""The leakage counter, on sets whose duplicates were planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agedetect.data.faces import Face
from agedetect.data.splits import Splits, split_faces
from agedetect.evaluation.leakage import count_leaked, estimate_leakage, training_duplicates
from agedetect.evaluation.predictions import Predictions
from agedetect.reports.text import leakage_sentence
from imaginary_faces import imaginary_face, imaginary_faces


def planted(pairs: int, singles: int) -> Splits:
    faces = [imaginary_face(20 + number % 50, number, copy=copy) for number in range(pairs) for copy in (0, 1)]
    faces += [imaginary_face(20 + number % 50, number) for number in range(pairs, pairs + singles)]
    return split_faces(faces)


def constant(faces: tuple[Face, ...], error: float) -> Predictions:
    return Predictions.of(faces, [face.age + error for face in faces])


def test_without_copies_nothing_leaks() -> None:
    splits = planted(0, 300)
    assert set(count_leaked(splits)) == {0}
    assert training_duplicates(splits) == ()
    found = estimate_leakage(splits, constant(splits.test, 4), None)
    assert (found.leaked, found.duplicates, found.mae) == (0, 0, None)
    assert leakage_sentence(found).startswith("Split file by file, none of ")


def test_a_leak_without_trained_copies_is_counted_and_its_effect_left_open() -> None:
    faces = imaginary_faces(range(1, 60))
    splits = Splits(tuple(faces[:40]), (), tuple(faces[40:]) + tuple(faces[40:]))  # every test file twice, none trained
    found = estimate_leakage(splits, constant(splits.test, 4), None)
    assert found.leaked > 0
    assert "the effect on the MAE cannot be estimated" in leakage_sentence(found)


def test_a_face_in_a_thousand_copies_leaks_whole() -> None:
    faces = [imaginary_face(30, 0, copy=copy) for copy in range(1000)] + imaginary_faces(range(1, 60))[1:]
    splits = split_faces(faces)
    careless = Splits(splits.train[:500], splits.validation, splits.train[500:])  # any split: only the sizes count
    for count in count_leaked(careless):
        singles = len(careless.test) - count
        assert 0 <= singles <= 58  # every test file but the single ones has its copy in training


def test_planted_pairs_leak_as_often_as_chance_says() -> None:
    splits = planted(200, 600)
    files, train, test = 1000, len(splits.train), len(splits.test)
    counts = count_leaked(splits, seeds=200)
    # a file is in the test part, one of a pair, and its other half in the training part
    expected = test * (400 / files) * train / (files - 1)
    # the standard error of the mean over 200 splits, by their own spread: four of those
    assert np.mean(counts) == pytest.approx(expected, abs=4 * np.std(counts) / np.sqrt(200))
    assert np.std(counts) > 0


def test_near_duplicates_leak_as_identical_ones() -> None:
    """As many pairs, whose halves differ by their digests but show one photograph."""
    identical, faces = planted(200, 600), imaginary_faces([20 + number % 50 for number in range(1000)])
    near = split_faces([replace(face, near=str(number // 2)) for number, face in enumerate(faces[:400])] + faces[400:])
    assert len(near.omitted) > 0
    assert len(training_duplicates(near)) > 0
    counts = [np.mean(count_leaked(splits, seeds=200)) / len(splits.test) for splits in (identical, near)]
    # the share of files that leak; its standard error over 200 splits of some 100 files is 0.003 each: four of both
    assert counts[0] == pytest.approx(counts[1], abs=0.017)


def test_the_real_split_leaks_nothing() -> None:
    splits = planted(200, 600)
    assert not {face.digest for face in splits.train} & {face.digest for face in splits.test}


def test_the_error_with_the_leak_is_mixed_by_the_share() -> None:
    splits = planted(200, 600)
    duplicates = training_duplicates(splits)
    assert len(duplicates) == sum(face.path.name.endswith("-1.jpg") for face in splits.train) * 2
    found = estimate_leakage(splits, constant(splits.test, 5), constant(duplicates, -1))
    share = found.leaked / len(splits.test)
    assert found.mae is not None
    assert found.gain is not None
    assert found.mae == pytest.approx([5 - 4 * share] * 3)
    assert found.gain == pytest.approx([4 * share] * 3)
    assert f"{found.leaked:.1f} of {len(splits.test)} test files" in leakage_sentence(found)


def test_files_of_one_picture_count_as_one_draw() -> None:
    """Errors of 0 and 8 years by turns: the interval of their mean is that of the pictures, not of the files."""
    splits = planted(200, 600)
    duplicates = training_duplicates(splits)
    digests = sorted({face.digest for face in duplicates})
    errors = {digest: 8 * (index % 2) for index, digest in enumerate(digests)}
    answers = Predictions.of(duplicates, [face.age + errors[face.digest] for face in duplicates])
    found = estimate_leakage(splits, constant(splits.test, 5), answers)
    assert found.duplicates_mae is not None
    assert found.duplicates_mae.low is not None
    assert found.duplicates_mae.value == pytest.approx(np.mean([errors[face.digest] for face in duplicates]))
    # the deviation of the mean of P draws of 0 or 8, and the normal distribution's 97.5%
    assert found.duplicates_mae.value - found.duplicates_mae.low == pytest.approx(
        1.96 * 4 / len(digests) ** 0.5, rel=0.15
    )


def test_the_count_is_the_same_each_time() -> None:
    splits = planted(50, 200)
    assert count_leaked(splits) == count_leaked(splits)
