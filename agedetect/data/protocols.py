"""The evaluation protocols of the literature, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """A way to split: of `parts` equal parts, `test` are for testing, `validation` for validation, the rest trains.

    There are `folds` such splits, whose test sets are disjoint; only faces of the ages from `youngest` to
    `oldest` years take part.
    """

    parts: int
    test: int
    validation: int
    folds: int
    youngest: float = 0
    oldest: float = float("inf")


PROTOCOLS = {
    "holdout": Protocol(parts=10, test=1, validation=1, folds=1),
    # Paplham & Franc, CVPR 2024: five splits of 60/20/20 over the full age range
    "folds5": Protocol(parts=5, test=1, validation=1, folds=5),
    # Cao et al., CORAL, 2020, and those after it: 80/20 of the ages 21 to 60; a tenth of all is taken from the
    # training part for validation
    "ages21-60": Protocol(parts=10, test=2, validation=1, folds=5, youngest=21, oldest=60),
}
