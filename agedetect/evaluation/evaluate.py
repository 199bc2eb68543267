"""A model judged from top to bottom: choose the faces, ask, measure. For the command and for training runs."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Protocol

from agedetect.data.faces import Face, FaceSet
from agedetect.data.splits import Splits
from agedetect.evaluation.comparison import Comparison, compare
from agedetect.evaluation.leakage import leak, trained_copies
from agedetect.evaluation.predictions import Predictions
from agedetect.evaluation.predictor import Predictor, predict
from agedetect.evaluation.result import Evaluation, Subject, evaluate
from agedetect.evaluation.subset import TEST_WHY, Chosen, choose_faces, faces_for_both


class Ask(Protocol):
    """Gives a model's predictions for faces; `label` is for the bar."""

    def __call__(self, predictor: Predictor, faces: tuple[Face, ...], label: str) -> Predictions: ...


def plainly(predictor: Predictor, faces: tuple[Face, ...], label: str) -> Predictions:
    return predict(predictor, faces)


def judge(
    predictor: Predictor, face_set: FaceSet, side: str = "auto", *, flip_average: bool = False, ask: Ask = plainly
) -> Evaluation:
    """Raises AgedetectError where the data has no such side, or the model or an image fails."""
    chosen = choose_faces(face_set, predictor.spec, side)
    predictions = ask(predictor, chosen.faces, chosen.side)
    subject = Subject(
        model=predictor.name,
        data=Path(face_set.source).name,
        side=chosen.side,
        why=_why(chosen, flip_average),
        skipped=len(face_set.skipped),
        level=predictor.spec.coverage,
    )
    found = None
    if chosen.splits and chosen.side == "test":
        copies = trained_copies(chosen.splits)
        found = leak(chosen.splits, predictions, ask(predictor, copies, "copies") if copies else None)
    median = predictor.spec.provenance.get("median_training_age")
    known = float(median) if isinstance(median, int | float) else None
    return evaluate(predictions, subject, training_median=known, leak=found)


def judge_two(
    first: Predictor,
    second: Predictor,
    face_set: FaceSet,
    side: str = "auto",
    *,
    flip_average: bool = False,
    ask: Ask = plainly,
) -> Comparison:
    """Raises DataError where the models can't be judged on the same faces, none of which trained either."""
    chosen = faces_for_both(face_set, [first.spec, second.spec], side)
    names = (first.name, second.name) if first.name != second.name else (f"{first.name} (A)", f"{second.name} (B)")
    answers = [ask(predictor, chosen.faces, predictor.name) for predictor in (first, second)]
    return compare(*answers, names=names, why=_why(chosen, flip_average))


def evaluate_run(
    predictions: Predictions,
    splits: Splits,
    face_set: FaceSet,
    *,
    model: str,
    level: float | None,
    copies: Predictions | None,
) -> Evaluation:
    """A training run's own: `predictions` are those for `splits.test`, `level` the coverage its intervals promise.

    `copies` are those for `trained_copies(splits)`, None where there are no such faces.
    """
    median = statistics.median(face.age for face in splits.train)
    subject = Subject(
        model=model,
        data=Path(face_set.source).name,
        side="test",
        why=TEST_WHY,
        skipped=len(face_set.skipped),
        level=level,
    )
    return evaluate(predictions, subject, training_median=median, leak=leak(splits, predictions, copies))


def _why(chosen: Chosen, flip_average: bool) -> str:
    return f"{chosen.why}; each answer is the mean over a face and its mirror image" if flip_average else chosen.why
