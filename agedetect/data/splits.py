"""Train, validation and test from the faces' content and a seed: names, order and machine don't matter."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from agedetect.data.faces import Face
from agedetect.data.protocols import PROTOCOLS
from agedetect.errors import DataError
from agedetect_runtime.atomic import write_whole

SPLIT_COLUMNS = ("split", "path", "age", "gender", "race", "digest")


@dataclass(frozen=True)
class Splits:
    """Three disjoint subsets, each in the order of the faces' digests.

    `omitted` are in none of them: near-duplicates of test faces that would have trained or validated, and
    near-duplicates of validation faces that would have trained.
    """

    train: tuple[Face, ...]
    validation: tuple[Face, ...]
    test: tuple[Face, ...]
    omitted: tuple[Face, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits over what the three subsets hold, pixels and ages; paths and order don't count."""
        subsets = {"train": self.train, "validation": self.validation, "test": self.test}
        return _hex(*(f"{name} {_content(faces)}" for name, faces in subsets.items()))

    @cached_property
    def test_fingerprint(self) -> str:
        """That of the test faces alone: metrics compare only where these are equal."""
        return fingerprint(self.test)


def split_faces(
    faces: Iterable[Face], *, seed: int = 0, protocol: str = "holdout", fold: int = 0, omit_near: bool = True
) -> Splits:
    """One of PROTOCOLS' splits: 80/10/10 by default.

    Images with equal pixels go to one subset; those whose duplicates carry different ages always train, since
    no prediction could be right about them. Near-duplicates (`Face.near`) don't move a face to another subset, so
    the test faces are the same with them and without: where subsets share a photograph, the test split keeps its
    files, else the validation split, and the others are omitted, those of conflicting ages included. Without
    `omit_near` all stay, as in models trained before near-duplicates were known. Raises DataError for too few faces
    to fill every part.
    """
    rule = PROTOCOLS[protocol]
    taken = [face for face in faces if rule.youngest <= face.age <= rule.oldest]
    everything = sorted(taken, key=lambda face: (face.digest, face.path.as_posix()))
    part_of = assign_folds(everything, seed=seed, folds=rule.parts)
    test = {(fold * rule.test + step) % rule.parts for step in range(rule.test)}
    validation = {(max(test) + 1 + step) % rule.parts for step in range(rule.validation)}
    subsets: dict[str, list[Face]] = defaultdict(list)
    for face in everything:
        part = part_of.get(face.digest)
        subsets["test" if part in test else "validation" if part in validation else "train"].append(face)
    splits = Splits(tuple(subsets["train"]), tuple(subsets["validation"]), tuple(subsets["test"]))
    return _omit_near(splits) if omit_near else splits


def _omit_near(splits: Splits) -> Splits:
    test = {face.near for face in splits.test} - {None}
    validation = tuple(face for face in splits.validation if face.near not in test)
    evaluated = test | {face.near for face in validation} - {None}
    train = tuple(face for face in splits.train if face.near not in evaluated)
    if not train or not validation:
        raise DataError(
            f"{len(splits.train)} training and {len(splits.validation)} validation faces: "
            f"{'all of the first' if validation else 'all of the second'} are near-duplicates of the faces to evaluate "
            "on; add faces"
        )
    kept = {*train, *validation}
    omitted = tuple(face for face in (*splits.train, *splits.validation) if face not in kept)
    return Splits(train, validation, splits.test, omitted)


def fingerprint(faces: Iterable[Face]) -> str:
    """32 hex digits over the pixels and ages of a set of faces; paths and order don't count."""
    return _hex("test", _content(faces))


def assign_folds(faces: Iterable[Face], *, seed: int = 0, folds: int = 10) -> dict[str, int]:
    """Digest -> fold, 0 to folds - 1, stratified by age; images whose duplicates disagree on the age have none.

    Sorted by age, every `folds` neighbours are dealt one to each fold, in an order hashed from the seed.
    Raises DataError for fewer different images than folds, and for fewer than three folds.
    """
    ages: dict[str, set[float]] = defaultdict(set)
    for face in faces:
        ages[face.digest].add(face.age)
    agreed = {digest: min(values) for digest, values in ages.items() if len(values) == 1}
    if folds < 3:
        raise DataError(f"{folds} folds: train, validation and test need three at least")
    if len(agreed) < folds:
        raise DataError(f"{len(agreed)} different faces: a split needs {folds} at least; add faces")
    by_age = sorted(agreed, key=lambda digest: (agreed[digest], _hex(seed, digest)))
    deals = [_deal(seed, block, folds) for block in range(-(-len(by_age) // folds))]
    return {digest: deals[rank // folds][rank % folds] for rank, digest in enumerate(by_age)}


def _deal(seed: int, block: int, folds: int) -> list[int]:
    return sorted(range(folds), key=lambda fold: _hex(seed, block, fold))


def write_splits(splits: Splits, path: Path) -> None:
    """A CSV table with the header SPLIT_COLUMNS, a row a face, omitted ones last; unknown gender and race are empty."""
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(SPLIT_COLUMNS)
    for name in ("train", "validation", "test", "omitted"):
        for face in getattr(splits, name):
            writer.writerow((name, face.path, _plain(face.age), face.gender, face.race, face.digest))
    write_whole(path, table.getvalue())


def _plain(age: float) -> str:
    return str(int(age)) if age == int(age) else repr(age)


def _content(faces: Iterable[Face]) -> str:
    return " ".join(sorted(f"{face.digest}:{_plain(face.age)}" for face in faces))


def _hex(*parts: object) -> str:
    return hashlib.sha256("\n".join(str(part) for part in parts).encode()).hexdigest()[:32]
