"""A paired comparison of two models on the same faces."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

import numpy as np

from agedetect.errors import DataError
from agedetect.evaluation.bootstrap import CONFIDENCE, RESAMPLES, IntervalEstimate, mean_estimate
from agedetect.evaluation.groups import groups_of
from agedetect.evaluation.predictions import Predictions
from agedetect.evaluation.significance import ALPHA, holm, sign_flip_p


@dataclass(frozen=True)
class Difference:
    """`advantage` is the second model's MAE minus the first's, in years: positive where the first is better.

    `p_value` is that of no difference; a group's is adjusted for the number of groups (Holm, 1979).
    """

    group: str
    n: int
    first_mae: float
    second_mae: float
    advantage: IntervalEstimate
    p_value: float

    @property
    def significant(self) -> bool:
        """At 95%."""
        return self.p_value < ALPHA


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two models on the same faces: overall, and by decade, gender and race.

    Of the `files`, pixel-identical ones count once.
    """

    first: str
    second: str
    why: str
    fingerprint: str
    files: int
    overall: Difference
    groups: tuple[Difference, ...]
    confidence: float = CONFIDENCE
    resamples: int = RESAMPLES

    def to_json(self) -> str:
        values = asdict(self)
        for item in (values["overall"], *values["groups"]):
            item["advantage"] = dict(zip(IntervalEstimate._fields, item["advantage"], strict=True))
        return json.dumps(values, indent=1) + "\n"


def compare_predictions(
    first: Predictions,
    second: Predictions,
    *,
    names: tuple[str, str] = ("A", "B"),
    why: str = "",
    fewest: int = 1,
) -> Comparison:
    """Paired: every resample holds the same images for both models. Raises DataError for different faces.

    The difference over all faces is one test, those by group, of `fewest` faces at least, are a family of tests.
    """
    if first.fingerprint != second.fingerprint:
        raise DataError(
            f"not comparable: {names[0]} was evaluated on the faces {first.fingerprint[:8]}, {names[1]} on "
            f"{second.fingerprint[:8]}: evaluate both on the same"
        )
    files, mark = len(first.faces), first.fingerprint
    first, second = first.once(), _in_order_of(first, second).once()
    groups, _ = groups_of(first.faces)
    single = [group for group in groups if group.family in ("age", "gender", "race") and len(group.members) >= fewest]
    differences = [_difference(group.name, first, second, group.members) for group in single]
    adjusted = holm(np.array([item.p_value for item in differences]))
    everyone = np.arange(len(first.faces))
    return Comparison(
        first=names[0],
        second=names[1],
        why=why,
        fingerprint=mark,
        files=files,
        overall=_difference("all faces", first, second, everyone),
        groups=tuple(replace(item, p_value=float(p)) for item, p in zip(differences, adjusted, strict=True)),
    )


def _difference(name: str, first: Predictions, second: Predictions, members: np.ndarray) -> Difference:
    one, other = np.abs(first.error[members]), np.abs(second.error[members])
    clusters = first.clusters[members]
    advantage, p_value = mean_estimate(other - one, clusters), sign_flip_p(other - one, clusters)
    return Difference(name, len(members), float(one.mean()), float(other.mean()), advantage, p_value)


def _in_order_of(first: Predictions, second: Predictions) -> Predictions:
    """Equal fingerprints are equal sets of pixels and ages: the rows may still stand in another order."""
    mine, theirs = (
        sorted(range(len(table.faces)), key=lambda index: (table.faces[index].digest, table.faces[index].age))
        for table in (first, second)
    )
    order = np.empty(len(mine), np.intp)
    order[mine] = theirs
    return Predictions(tuple(second.faces[index] for index in order), second.age[order])
