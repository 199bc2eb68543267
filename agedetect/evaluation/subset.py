"""Which faces a model may be judged on: those that its own split kept apart, or faces of another origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agedetect.data.faces import Face, FaceSet
from agedetect.data.protocols import PROTOCOLS
from agedetect.data.splits import Splits, split_faces
from agedetect.errors import DataError
from agedetect.evaluation.predictions import Predictions
from agedetect_runtime import ModelSpec

TEST_WHY = "the test side of the model's own split: no training, no choice of a model saw it"
_SAME = "train both on one split, or compare on faces that trained neither"


@dataclass(frozen=True)
class Chosen:
    """The faces to judge a model on, `side` naming them and `why` saying in a sentence what they are.

    `splits` is the model's own split where the data gives it, else None.
    """

    faces: tuple[Face, ...]
    side: str
    why: str
    splits: Splits | None


def choose_faces(face_set: FaceSet, spec: ModelSpec, side: str = "auto") -> Chosen:
    """`side` is one of SIDES; "auto" is the test side of the model's own split, or all faces of other data.

    Raises DataError for a side of a split that this data doesn't give.
    """
    splits = own_split(face_set.faces, spec.provenance)
    if splits is None:
        if side in ("test", "validation"):
            raise DataError(
                f"{face_set.source}: it doesn't give the split that the model was trained on, so it has no {side} "
                "side of it: give the faces of the training run, or --side all"
            )
        known = "split_fingerprint" in spec.provenance
        why = (
            "since they aren't the faces of the model's training run"
            if known
            else "since the model doesn't say what trained it"
        )
        caution = "whether some were among those can't be told" if known else "some of these may have"
        return Chosen(face_set.faces, "all", f"all of them, {why}; {caution}", None)
    if side == "all":
        count = len(splits.train)
        why = f"all, {count:,} of which TRAINED the model: its error on new faces is larger"
        return Chosen((*splits.train, *splits.validation, *splits.test), "all", why, splits)
    if side == "validation":
        why = "the validation side of the model's own split: training was steered by it"
        return Chosen(splits.validation, "validation", why, splits)
    return Chosen(splits.test, "test", TEST_WHY, splits)


def own_split(faces: Sequence[Face], provenance: Mapping[str, object]) -> Splits | None:
    """The split that trained a model, made again from the same faces; None where they aren't the same."""
    split = provenance.get("split")
    named = {"protocol": "holdout", "seed": 0, "fold": 0, **(split if isinstance(split, Mapping) else {})}
    protocol, seed, fold = named["protocol"], named["seed"], named["fold"]
    if protocol not in PROTOCOLS or not isinstance(seed, int) or not isinstance(fold, int):
        return None
    try:
        splits = split_faces(faces, seed=seed, protocol=str(protocol), fold=fold)
    except DataError:  # too few for such a split: so they aren't the same
        return None
    return splits if splits.fingerprint == provenance.get("split_fingerprint") else None


def faces_for_both(face_set: FaceSet, specs: Sequence[ModelSpec], side: str = "auto") -> Chosen:
    """The faces on which models may be compared: the same for all, and no training face of any.

    Raises DataError where there are none such.
    """
    chosen = [choose_faces(face_set, spec, side) for spec in specs]
    prints = [Predictions.of(item.faces, [0.0] * len(item.faces)).fingerprint for item in chosen]
    if len(set(prints)) > 1:
        named = " and ".join(
            f"{item.side} {mark[:8]} ({len(item.faces):,} faces)" for item, mark in zip(chosen, prints, strict=True)
        )
        raise DataError(f"not comparable: the models were to be judged on different faces, {named}: {_SAME}")
    if side == "all" and any(item.splits for item in chosen):
        raise DataError(f"not comparable on all faces of {face_set.source}: some trained a model: leave out --side all")
    return chosen[0]
