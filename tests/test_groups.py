"""Groups: every face in one cell of each family, small intersections counted and left out."""

from __future__ import annotations

import numpy as np
import pytest

from agedetect.evaluation.groups import decade_of, groups_of, predicted_decades
from imaginary_faces import imaginary_face, imaginary_faces


def test_each_family_divides_the_faces() -> None:
    faces = imaginary_faces([float(age) for age in range(100)], groups=True)
    groups, omitted = groups_of(faces, fewest=1)
    families = {group.family for group in groups}
    assert families == {"age", "gender", "race", "age, gender", "age, race", "gender, race", "age, gender, race"}
    for family in families:
        members = [index for group in groups if group.family == family for index in group.members]
        assert sorted(members) == list(range(100))
    assert set(omitted.values()) == {0}


def test_answers_are_grouped_by_their_own_decade() -> None:
    groups = predicted_decades(np.array([34.9, 5.0, 30.0, 29.99, 116.0]))
    assert [(group.name, list(group.members)) for group in groups] == [
        ("predicted 0-9", [1]),
        ("predicted 20-29", [3]),
        ("predicted 30-39", [0, 2]),
        ("predicted 110-119", [4]),
    ]


def test_groups_are_named_in_the_order_of_people() -> None:
    faces = [imaginary_face(105, 1, "female", "Indian"), imaginary_face(7.5, 2, "male", "White"), imaginary_face(23, 3)]
    groups, _ = groups_of(faces)
    assert [group.name for group in groups if group.family == "age"] == ["0-9", "20-29", "100-109"]
    assert [group.name for group in groups if group.family == "gender"] == ["male", "female", "gender unknown"]
    assert [group.name for group in groups if group.family == "race"] == ["White", "Indian", "race unknown"]


def test_small_crossings_are_left_out_and_counted() -> None:
    faces = [imaginary_face(25, number, "male", "White") for number in range(30)]
    faces += [imaginary_face(25, 100 + number, "female", "White") for number in range(29)]
    groups, omitted = groups_of(faces)
    intersections = {group.name: len(group.members) for group in groups if "," in group.family}
    assert intersections == {"20-29, male": 30, "20-29, White": 59, "male, White": 30, "20-29, male, White": 30}
    assert omitted == {"age, gender": 1, "age, race": 0, "gender, race": 1, "age, gender, race": 1}
    assert {group.name: len(group.members) for group in groups if group.family == "gender"} == {
        "male": 30,
        "female": 29,
    }


def test_an_attribute_that_nobody_has_crosses_nothing() -> None:
    groups, omitted = groups_of(imaginary_faces([25.0] * 40))
    assert [group.name for group in groups] == ["20-29", "gender unknown", "race unknown"]
    assert omitted == {}


@pytest.mark.parametrize(("age", "name"), [(0, "0-9"), (9.9, "0-9"), (10, "10-19"), (116, "110-119")])
def test_a_decade_holds_its_first_year(age: float, name: str) -> None:
    assert decade_of(age) == name
