"""A model judged from top to bottom: choose the faces, ask, measure. For the command and for training runs."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from agedetect.comparison import Comparison, compare
from agedetect.evaluation import Evaluation, Subject, evaluate
from agedetect.faces import Face, FaceSet
from agedetect.leaks import Leak, leak, trained_copies
from agedetect.predictions import Predictions
from agedetect.predictor import Predictor, predict
from agedetect.sides import TEST_WHY, choose_faces, faces_for_both
from agedetect.splits import Splits


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
        why=chosen.why,
        skipped=len(face_set.skipped),
        level=predictor.spec.coverage,
        flip_average=flip_average,
    )
    median = predictor.spec.provenance.get("median_training_age")
    return evaluate(
        predictions,
        subject,
        training_median=float(median) if isinstance(median, int | float) else None,
        leak=_leak(chosen.splits, predictions, lambda faces: ask(predictor, faces, "copies"))
        if chosen.splits and chosen.side == "test"
        else None,
    )


def judge_two(
    first: Predictor, second: Predictor, face_set: FaceSet, side: str = "auto", *, ask: Ask = plainly
) -> Comparison:
    """Raises DataError where the models can't be judged on the same faces, none of which trained either."""
    chosen = faces_for_both(face_set, [first.spec, second.spec], side)
    names = (first.name, second.name) if first.name != second.name else (f"{first.name} (A)", f"{second.name} (B)")
    answers = [ask(predictor, chosen.faces, predictor.name) for predictor in (first, second)]
    return compare(*answers, names=names, why=chosen.why)


def evaluate_run(
    predictions: Predictions,
    splits: Splits,
    face_set: FaceSet,
    *,
    model: str,
    level: float | None,
    answer_copies: Callable[[tuple[Face, ...]], Predictions],
) -> Evaluation:
    """A training run's own: `predictions` are those for `splits.test`, `level` the coverage its intervals promise.

    `answer_copies` is asked once, for the training faces that have a copy among them, if there are any.
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
    return evaluate(predictions, subject, training_median=median, leak=_leak(splits, predictions, answer_copies))


def _leak(splits: Splits, test: Predictions, answer_copies: Callable[[tuple[Face, ...]], Predictions]) -> Leak:
    copies = trained_copies(splits)
    return leak(splits, test, answer_copies(copies) if copies else None)
