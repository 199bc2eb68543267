"""Which faces a model may be evaluated on: those that its own split kept apart, or faces of another origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agedetect.config import EVALUATION_SPLITS
from agedetect.data.faces import Face, FaceSet
from agedetect.data.protocols import PROTOCOLS
from agedetect.data.splits import Splits, fingerprint, split_faces
from agedetect.errors import DataError
from agedetect_runtime import ModelSpec

TEST_WHY = "the test split of the model's own training run: neither training nor the choice of a model saw it"
_SAME = "train both on one split, or compare on faces that trained neither"


@dataclass(frozen=True)
class EvaluationSet:
    """The faces to evaluate a model on; `split` names them, and `why` says in a sentence what they are.

    `splits` is the model's own split where the data gives it, else None.
    """

    faces: tuple[Face, ...]
    split: str
    why: str
    splits: Splits | None


def choose_faces(face_set: FaceSet, spec: ModelSpec, split: str = "auto") -> EvaluationSet:
    """`split` is one of EVALUATION_SPLITS; "auto" is the test split of the model's own run, else all faces.

    Raises DataError for another name, and for a split that this data doesn't give.
    """
    if split not in EVALUATION_SPLITS:
        raise DataError(f"split {split!r} is none of {', '.join(EVALUATION_SPLITS)}")
    splits = own_split(face_set.faces, spec.provenance)
    if splits is None:
        if split in ("test", "validation"):
            raise DataError(
                f"{face_set.source}: these are not the faces of the model's training run, so they have no {split} "
                "split of it: give the faces of the training run, or --split all"
            )
        known = "split_fingerprint" in spec.provenance
        why = (
            "all of them, since they are not the faces of the model's training run; whether some of them trained it "
            "is unknown"
            if known
            else "all of them, since the model doesn't say what trained it; some of them may have"
        )
        return EvaluationSet(face_set.faces, "all", why, None)
    if split == "all":
        why = f"all, {len(splits.train):,} of which TRAINED the model: its error on new faces is larger"
        everything = (*splits.train, *splits.validation, *splits.test, *splits.omitted)
        return EvaluationSet(everything, "all", why, splits)
    if split == "validation":
        why = "the validation split of the model's own training run, which calibrated its intervals"
        return EvaluationSet(splits.validation, "validation", why, splits)
    return EvaluationSet(splits.test, "test", TEST_WHY, splits)


def own_split(faces: Sequence[Face], provenance: Mapping[str, object]) -> Splits | None:
    """The split that trained a model, made again from the same faces; None where they aren't the same."""
    split = provenance.get("split")
    named = {"protocol": "holdout", "seed": 0, "fold": 0, **(split if isinstance(split, Mapping) else {})}
    protocol, seed, fold = named["protocol"], named["seed"], named["fold"]
    if not isinstance(protocol, str) or protocol not in PROTOCOLS or type(seed) is not int or type(fold) is not int:
        return None
    for omit_near in (True, False):  # models of earlier versions trained on near-duplicates, too
        try:
            splits = split_faces(faces, seed=seed, protocol=protocol, fold=fold, omit_near=omit_near)
        except DataError:  # too few for such a split: so they aren't the same
            continue
        if splits.fingerprint == provenance.get("split_fingerprint"):
            return splits
    return None


def faces_for_both(face_set: FaceSet, specs: Sequence[ModelSpec], split: str = "auto") -> EvaluationSet:
    """The faces on which models may be compared: the same for all, and no training face of any.

    Raises DataError where there are none such.
    """
    chosen = [choose_faces(face_set, spec, split) for spec in specs]
    prints = [fingerprint(item.faces) for item in chosen]
    if len(set(prints)) > 1:
        named = " and ".join(
            f"{item.split} {mark[:8]} ({len(item.faces):,} faces)" for item, mark in zip(chosen, prints, strict=True)
        )
        raise DataError(f"not comparable: the models would be evaluated on different faces, {named}: {_SAME}")
    if split == "all" and any(item.splits for item in chosen):
        raise DataError(f"not comparable on all faces of {face_set.source}: some trained a model: omit --split all")
    return chosen[0]
