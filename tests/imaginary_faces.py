"""Labelled faces without pictures, for what is made of predictions alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agedetect.data.faces import Face
from agedetect.data.labels import GENDERS, RACES


def imaginary_face(age: float, picture: int, gender: str | None = None, race: str | None = None, copy: int = 0) -> Face:
    """`picture` stands for the pixels; duplicates of it differ in their path alone."""
    return Face(Path(f"/f/{picture}-{copy}.jpg"), age, gender, race, f"{picture:032x}", (8, 8))


def imaginary_faces(ages: Sequence[float], *, groups: bool = False) -> list[Face]:
    """One picture each; with `groups`, genders and races take turns."""
    return [
        imaginary_face(
            age,
            number,
            GENDERS[number % len(GENDERS)] if groups else None,
            RACES[number % len(RACES)] if groups else None,
        )
        for number, age in enumerate(ages)
    ]
