"""A kind of file, and what the row of its image must hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from malformed.pictures import (
    PICTURE,
    Levels,
    age_of,
)

EXACT_YEARS = 0.01  # float32 sums of a thousand levels
# A level's worth for all of a picture is 0.34 years. Grey by integer or by float differs by half a level, JPEG and
# its like by up to three at quality 95; the mildest mistake, two channels swapped in one quarter, costs 0.4 x 20.
ROUNDED_YEARS = 0.2
LOSSY_YEARS = 1.2


@dataclass(frozen=True)
class Outcome:
    """What a row must hold: an age, one of the reasons, or, where both are given, either."""

    age: float | None = None
    tolerance: float = EXACT_YEARS
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kind:
    """A kind of file: `make` puts it at a path, which it may change, and returns what to call it with."""

    family: str
    name: str
    outcome: Outcome
    make: Callable[[Path], Path]
    suffix: str = ".jpg"


def looks_like(levels: Levels, tolerance: float = EXACT_YEARS) -> Outcome:
    return Outcome(age_of(levels), tolerance)


def refused(*reasons: str) -> Outcome:
    return Outcome(reasons=reasons)


SEEN = looks_like(PICTURE)
NEARLY = looks_like(PICTURE, LOSSY_YEARS)
DAMAGED = "damaged: .+"
UNSUPPORTED = "unsupported: .+"
ANYTHING = Outcome(
    0.0, float("inf"), ("truncated", "truncated or damaged in its header", "not an image", DAMAGED, UNSUPPORTED)
)
TRUNCATED = refused("truncated", "truncated or damaged in its header")

Files = dict[str, tuple[bytes, Outcome]]


def a_file(data: bytes) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.write_bytes(data)
        return path

    return make
