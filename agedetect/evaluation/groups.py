"""Who the faces are: by decade of age, gender and race, and by their intersections where there are enough."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from agedetect.data.faces import Face
from agedetect.data.labels import GENDERS, RACES

FEWEST = 30  # of an intersection: below, an interval of the mean error is some 5 years wide and says nothing
_Place = tuple[int, str]  # where a value stands among the others, and its name


@dataclass(frozen=True)
class Group:
    """`members` index the faces; `family` is "age", "predicted age", "gender", "race" or, say, "age, race"."""

    family: str
    name: str
    members: NDArray[np.intp]


def groups_of(faces: Sequence[Face], *, fewest: int = FEWEST) -> tuple[list[Group], dict[str, int]]:
    """The groups in the order of their families, and how many cells of each intersection have too few faces.

    Every decade, gender and race is there however few its faces; what isn't known is a group of its own, named so.
    An intersection with an attribute that no face has would only repeat the others: it is omitted.
    """
    known = [family for family in _PLACES if family == "age" or any(getattr(face, family) for face in faces)]
    families: list[tuple[str, ...]] = [(family,) for family in _PLACES]
    families += [intersection for size in (2, 3) for intersection in combinations(known, size)]
    groups: list[Group] = []
    omitted: dict[str, int] = {}
    for family in families:
        cells = _cells(faces, family)
        kept = [cell for cell in cells if len(family) == 1 or len(cell.members) >= fewest]
        groups += kept
        if len(family) > 1:
            omitted[", ".join(family)] = len(cells) - len(kept)
    return groups, omitted


def predicted_decades(ages: NDArray[np.float64]) -> list[Group]:
    """By decade of the predicted age, (N,): the groups that somebody who only sees predictions knows."""
    decades = ages.astype(int) // 10
    return [
        Group("predicted age", f"predicted {decade_of(10 * decade)}", np.flatnonzero(decades == decade))
        for decade in np.unique(decades)
    ]


def decade_of(age: float) -> str:
    """34.5 -> "30-39"."""
    first = int(age) // 10 * 10
    return f"{first}-{first + 9}"


def _cells(faces: Sequence[Face], family: tuple[str, ...]) -> list[Group]:
    members: dict[tuple[_Place, ...], list[int]] = defaultdict(list)
    for index, face in enumerate(faces):
        members[tuple(_PLACES[attribute](face) for attribute in family)].append(index)
    return [
        Group(", ".join(family), ", ".join(name for _, name in cell), np.array(members[cell]))
        for cell in sorted(members)
    ]


def _age(face: Face) -> _Place:
    return int(face.age) // 10, decade_of(face.age)


def _gender(face: Face) -> _Place:
    return (GENDERS.index(face.gender), face.gender) if face.gender else (len(GENDERS), "gender unknown")


def _race(face: Face) -> _Place:
    return (RACES.index(face.race), face.race) if face.race else (len(RACES), "race unknown")


_PLACES: dict[str, Callable[[Face], _Place]] = {"age": _age, "gender": _gender, "race": _race}
