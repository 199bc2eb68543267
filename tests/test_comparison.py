"""Two models on the same faces: paired, or refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agedetect.errors import DataError
from agedetect.evaluation.comparison import compare_predictions
from agedetect.evaluation.predictions import Predictions
from agedetect.reports.text import format_comparison, verdict
from imaginary_faces import imaginary_faces

AGES = np.random.default_rng(1).uniform(1, 80, 300)
FACES = imaginary_faces(AGES.tolist(), groups=True)
NAMES = ("first", "second")


def noisy(spread: float, seed: int) -> Predictions:
    return Predictions.of(FACES, AGES + np.random.default_rng(seed).normal(0, spread, len(AGES)))


def test_the_better_model_is_named_with_its_advantage() -> None:
    better, worse = noisy(2, 1), noisy(6, 2)
    result = compare_predictions(better, worse, names=NAMES)
    advantage = np.abs(worse.error).mean() - np.abs(better.error).mean()
    assert result.overall.advantage.value == pytest.approx(advantage)
    assert verdict(result).startswith(f"first is better by {advantage:.2f} years (")
    assert verdict(compare_predictions(worse, better, names=NAMES)).startswith(
        f"second is better by {advantage:.2f} years ("
    )
    assert verdict(result).endswith("n=300")


def test_a_difference_that_may_be_chance_is_not_significant() -> None:
    one = Predictions.of(FACES, AGES + 5)
    other = Predictions.of(FACES, AGES + np.tile([4.0, 6.0], 150))  # better on half of the faces, worse on the other
    result = compare_predictions(one, other, names=NAMES)
    assert not result.overall.significant
    assert verdict(result).startswith("no significant difference at 95%: second minus first +0.00 (-0.")


def test_pairing_shows_what_two_separate_intervals_would_hide() -> None:
    """A model that is worse by 0.3 years on every face: the spread of the errors cancels."""
    one = Predictions.of(FACES, AGES + np.random.default_rng(3).exponential(6, len(AGES)))
    other = Predictions.of(FACES, one.age + 0.3)
    result = compare_predictions(one, other, names=NAMES)
    assert result.overall.advantage == pytest.approx((0.3, 0.3, 0.3))
    assert "first is better by 0.30 years (0.30 to 0.30)" in format_comparison(result)


def test_a_model_is_as_good_as_itself() -> None:
    assert compare_predictions(noisy(4, 1), noisy(4, 1)).overall.advantage == (0, 0, 0)
    assert not compare_predictions(noisy(4, 1), noisy(4, 1)).overall.significant


def test_the_order_of_the_faces_does_not_matter() -> None:
    one, other = noisy(3, 1), noisy(4, 2)
    order = np.random.default_rng(5).permutation(len(AGES))
    shuffled = Predictions.of([FACES[index] for index in order], other.age[order])
    assert compare_predictions(one, shuffled) == compare_predictions(one, other)


def test_other_faces_are_refused_in_one_line() -> None:
    one = noisy(3, 1)
    fewer = Predictions.of(FACES[1:], one.age[1:])
    with pytest.raises(DataError, match="not comparable: first was evaluated on the faces ") as caught:
        compare_predictions(one, fewer, names=NAMES)
    assert "\n" not in str(caught.value)


def test_every_group_has_its_n_in_text_and_json() -> None:
    result = compare_predictions(noisy(2, 1), noisy(6, 2), names=NAMES)
    values = json.loads(result.to_json())
    assert {group["n"] for group in values["groups"] if group["group"] in ("male", "female")} == {150}
    assert set(values["overall"]["advantage"]) == {"value", "low", "high"}
    rows = [line.split() for line in format_comparison(result).splitlines() if re.search(r" (yes|no)$", line)]
    assert [int(row[-9]) for row in rows] == [item.n for item in (result.overall, *result.groups)]
    assert [row[-1] == "yes" for row in rows] == [item.significant for item in (result.overall, *result.groups)]


def test_a_group_needs_more_than_its_own_interval() -> None:
    """Two models alike, 15 groups: intervals that exclude zero by chance are no findings."""
    found, excluded = 0, 0
    for seed in range(40):
        result = compare_predictions(noisy(4, seed), noisy(4, seed + 100))
        found += any(group.significant for group in result.groups)
        excluded += any((group.advantage.low or 0) > 0 or (group.advantage.high or 0) < 0 for group in result.groups)
    assert excluded >= 10  # groups overlap, but each of 15 intervals may miss by chance
    assert found <= 6  # 5% of 40 are 2; three standard deviations more


def test_three_faces_that_agree_prove_nothing() -> None:
    """A bootstrap of three equal signs has no other; their p-value is 2 / 8 before any correction."""
    faces = imaginary_faces([10.0, 11.0, 12.0, *np.linspace(30, 39, 60)])
    one = Predictions.of(faces, [face.age + 1 for face in faces])
    other = Predictions.of(faces, [face.age + (3 if face.age < 20 else 1) for face in faces])
    (teens, *_) = compare_predictions(one, other).groups
    assert (teens.group, teens.advantage) == ("10-19", (2, 2, 2))
    assert not teens.significant


def test_copies_of_a_face_are_no_further_evidence() -> None:
    better, worse = noisy(2, 1), noisy(6, 2)
    threefold = [replace(face, path=Path(f"/{copy}/{face.path.name}")) for copy in "abc" for face in FACES]
    order = np.random.default_rng(0).permutation(len(threefold))
    copied = compare_predictions(
        Predictions.of(threefold, np.tile(better.age, 3)),
        Predictions.of([threefold[index] for index in order], np.tile(worse.age, 3)[order]),
        names=NAMES,
    )
    assert copied.files == 3 * copied.overall.n == 3 * len(FACES)
    once = compare_predictions(better, worse, names=NAMES).overall
    assert copied.overall.advantage == pytest.approx(once.advantage)  # NumPy's sums differ in the last digit
