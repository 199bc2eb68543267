"""Splits: what they must never do, for any set of faces."""

from __future__ import annotations

import csv
import random
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agedetect.data.faces import Face
from agedetect.data.splits import SPLIT_COLUMNS, Splits, assign_folds, split_faces, write_splits
from agedetect.errors import DataError


def face(picture: int, age: float, copy: int = 0) -> Face:
    """`picture` stands for the pixels; duplicates of it differ in their path alone."""
    return Face(Path(f"/f/{picture}-{copy}.jpg"), age, "male", None, f"{picture:032x}", (8, 8))


def many(count: int) -> list[Face]:
    rng = random.Random(5)
    return [face(number, rng.randint(1, 90)) for number in range(count)]


@st.composite
def face_lists(draw: st.DrawFn) -> list[Face]:
    """Ten different pictures at least; some have duplicates, some of those another age."""
    ages = draw(st.lists(st.integers(0, 120), min_size=10, max_size=60))
    faces = [face(number, age) for number, age in enumerate(ages)]
    for number, age in enumerate(ages[10:], start=10):
        for copy in range(draw(st.integers(0, 2))):
            faces.append(face(number, age + draw(st.sampled_from([0, 0, 1])), copy + 1))
    return faces


def sides(splits: Splits) -> tuple[tuple[Face, ...], ...]:
    return splits.train, splits.validation, splits.test


@given(face_lists(), st.integers(0, 3))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_sides_are_disjoint_and_complete(faces: list[Face], seed: int) -> None:
    splits = split_faces(faces, seed=seed)
    together = [item.path for side in sides(splits) for item in side]
    assert sorted(together) == sorted(item.path for item in faces)
    assert all(sides(splits))


@given(face_lists())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_copies_fall_on_one_side_and_conflicting_ones_train(faces: list[Face]) -> None:
    splits = split_faces(faces)
    train, validation, test = ({item.digest for item in side} for side in sides(splits))
    assert not train & validation
    assert not train & test
    assert not validation & test
    ages: dict[str, set[float]] = {}
    for item in faces:
        ages.setdefault(item.digest, set()).add(item.age)
    assert {digest for digest, values in ages.items() if len(values) > 1} <= train


@given(face_lists(), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_order_and_names_do_not_matter(faces: list[Face], rng: random.Random) -> None:
    shuffled = list(faces)
    rng.shuffle(shuffled)
    moved = [replace(item, path=Path("/elsewhere") / f"{rng.random()}.png") for item in shuffled]
    first, second = split_faces(faces), split_faces(moved)
    for one, other in zip(sides(first), sides(second), strict=True):
        assert sorted((item.digest, item.age) for item in one) == sorted((item.digest, item.age) for item in other)
    assert split_faces(shuffled) == first
    assert second.fingerprint == first.fingerprint
    assert second.test_fingerprint == first.test_fingerprint


def test_sides_are_a_tenth_a_tenth_and_the_rest() -> None:
    splits = split_faces(many(1000))
    assert [len(side) for side in sides(splits)] == [800, 100, 100]


@pytest.mark.parametrize("seed", range(5))
def test_sides_have_the_same_ages(seed: int) -> None:
    faces = many(1000)
    splits = split_faces(faces, seed=seed)
    mean = statistics.fmean(item.age for item in faces)
    for side in sides(splits):
        # Ten neighbours in age differ by a year at most; a random tenth would miss by 2.6 years, one in
        # three times.
        assert abs(statistics.fmean(item.age for item in side) - mean) < 0.5
        quartiles = statistics.quantiles([item.age for item in side])
        expected = statistics.quantiles([item.age for item in faces])
        assert all(abs(one - other) <= 1 for one, other in zip(quartiles, expected, strict=True))


def test_another_seed_gives_another_split() -> None:
    faces = many(200)
    tests = [{item.digest for item in split_faces(faces, seed=seed).test} for seed in range(3)]
    assert tests[0] != tests[1] != tests[2] != tests[0]
    assert len(tests[0] & tests[1]) < 10  # 20 each of 200: about 2 by chance


def test_the_split_is_the_same_on_every_machine() -> None:
    """A hash that depended on the process, the platform or the library's version would change these."""
    splits = split_faces(many(40))
    assert sorted(int(item.digest, 16) for item in splits.test) == [9, 16, 18, 37]
    assert splits.fingerprint == "d6492c18797c52f4be5d302bd2a27fe4"


def test_fingerprints_tell_what_changed() -> None:
    faces = many(100)
    splits = split_faces(faces)
    older = replace(splits.train[0], age=splits.train[0].age + 1)
    relabelled = Splits((older, *splits.train[1:]), splits.validation, splits.test)
    swapped = Splits(splits.train, splits.test, splits.validation)
    assert relabelled.fingerprint != splits.fingerprint
    assert relabelled.test_fingerprint == splits.test_fingerprint
    assert swapped.fingerprint != splits.fingerprint
    assert swapped.test_fingerprint != splits.test_fingerprint


@pytest.mark.parametrize("folds", [3, 5, 10])
def test_folds_are_equal_in_size_and_stratified(folds: int) -> None:
    faces = many(30 * folds)
    fold_of = assign_folds(faces, seed=1, folds=folds)
    assert set(fold_of) == {item.digest for item in faces}
    for fold in range(folds):
        ages = [item.age for item in faces if fold_of[item.digest] == fold]
        assert len(ages) == 30
        assert abs(statistics.fmean(ages) - statistics.fmean(item.age for item in faces)) < 2


def test_conflicting_copies_have_no_fold() -> None:
    faces = [*many(20), face(100, 30), face(100, 31, 1), face(101, 40), face(101, 40, 1)]
    fold_of = assign_folds(faces)
    assert face(100, 30).digest not in fold_of
    assert face(101, 40).digest in fold_of


def test_too_few_faces_or_folds_are_refused() -> None:
    assert all(sides(split_faces(many(10))))
    with pytest.raises(DataError, match="9 different faces"):
        split_faces(many(9))
    with pytest.raises(DataError, match="9 different faces"):
        split_faces([*many(9), *many(9)])
    with pytest.raises(DataError, match="2 folds"):
        assign_folds(many(10), folds=2)


@pytest.mark.parametrize(("protocol", "shares"), [("folds5", (60, 20, 20)), ("ages21-60", (70, 10, 20))])
def test_the_folds_of_a_protocol_test_each_face_once(protocol: str, shares: tuple[int, int, int]) -> None:
    faces = [face(number, 21 + number % 40) for number in range(200)]
    folds = [split_faces(faces, protocol=protocol, fold=fold) for fold in range(5)]
    tested = [item.digest for splits in folds for item in splits.test]
    assert sorted(tested) == sorted(item.digest for item in faces)
    for splits in folds:
        assert tuple(len(side) // 2 for side in sides(splits)) == shares
        assert len({item.digest for side in sides(splits) for item in side}) == len(faces)


def test_a_protocol_takes_only_faces_of_its_ages() -> None:
    faces = [face(number, number) for number in range(100)]
    ages = [item.age for side in sides(split_faces(faces, protocol="ages21-60")) for item in side]
    assert sorted(ages) == list(range(21, 61))


def test_the_split_of_the_default_protocol_stays_what_it_was() -> None:
    """Registered models name their split by these fingerprints."""
    assert split_faces(many(100)).fingerprint == "ff0756b2ad3e6a7651488745a57cb98a"


def shared(faces: list[Face], *pictures: int) -> list[Face]:
    """The faces, of which those of `pictures` show one photograph."""
    return [replace(item, near="f" * 32) if int(item.digest, 16) in pictures else item for item in faces]


def pictures(faces: tuple[Face, ...]) -> set[int]:
    return {int(item.digest, 16) for item in faces}


def test_near_duplicates_of_a_test_face_are_omitted_elsewhere_and_no_face_moves() -> None:
    before = split_faces(many(40))
    train, validation, test = (sorted(pictures(side)) for side in sides(before))
    after = split_faces(shared(many(40), test[0], validation[0], *train[:2]))
    assert pictures(after.omitted) == {validation[0], *train[:2]}
    assert (pictures(after.train), pictures(after.validation)) == (set(train[2:]), set(validation[1:]))
    assert after.test_fingerprint == before.test_fingerprint
    assert after.fingerprint != before.fingerprint


def test_near_duplicates_of_a_validation_face_do_not_train() -> None:
    train, validation, test = (sorted(pictures(side)) for side in sides(split_faces(many(40))))
    after = split_faces(shared(many(40), validation[0], train[0]))
    assert pictures(after.omitted) == {train[0]}
    assert (pictures(after.validation), pictures(after.test)) == (set(validation), set(test))


def test_near_duplicates_within_a_subset_stay() -> None:
    for side in sides(split_faces(many(40))):
        assert not split_faces(shared(many(40), *sorted(pictures(side))[:2])).omitted


def test_conflicting_copies_do_not_train_where_a_near_duplicate_is_tested() -> None:
    faces = [*many(40), face(100, 30), face(100, 31, 1)]
    tested = min(pictures(split_faces(faces).test))
    after = split_faces(shared(faces, tested, 100))
    assert [item.path.name for item in after.omitted] == ["100-0.jpg", "100-1.jpg"]


def test_a_split_that_near_duplicates_leave_empty_is_refused() -> None:
    with pytest.raises(DataError, match="near-duplicates of the faces to evaluate on; add faces"):
        split_faces(shared(many(40), *range(40)))


def test_the_table_says_where_each_face_went(tmp_path: Path) -> None:
    odd = replace(face(50, 24.5), path=Path('/f/a "b",\n.jpg'), gender=None, race="Other")
    faces = [*many(30), odd]
    tested, trained = (min(pictures(side)) for side in (split_faces(faces).test, split_faces(faces).train))
    splits = split_faces(shared(faces, tested, trained))
    write_splits(splits, tmp_path / "new" / "splits.csv")
    with (tmp_path / "new" / "splits.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == SPLIT_COLUMNS
    named = {"train": splits.train, "validation": splits.validation, "test": splits.test, "omitted": splits.omitted}
    expected = [
        (side, str(item.path), item.age, item.gender or "", item.race or "", item.digest)
        for side, faces in named.items()
        for item in faces
    ]
    read = [(r["split"], r["path"], float(r["age"]), r["gender"], r["race"], r["digest"]) for r in rows]
    assert read == expected
    assert len(splits.omitted) == 1
    assert [row["age"] for row in rows if row["path"] == str(odd.path)] == ["24.5"]
