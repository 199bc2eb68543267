"""An evaluation from top to bottom: choose the faces, predict, measure. For the command and for training runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from agedetect.data.faces import Face, FaceSet
from agedetect.data.splits import Splits
from agedetect.evaluation.comparison import Comparison, compare_predictions
from agedetect.evaluation.leakage import estimate_leakage, training_duplicates
from agedetect.evaluation.predictions import Predictions
from agedetect.evaluation.predictor import Predictor, Progress
from agedetect.evaluation.result import Context, Evaluation, evaluate_predictions
from agedetect.evaluation.subset import TEST_WHY, EvaluationSet, choose_faces, faces_for_both
from agedetect_runtime.spec import MAX_AGE, MIN_AGE

OpenBar = Callable[[str, int], AbstractContextManager[Progress]]  # (label, images): a progress bar


def no_bar(label: str, images: int) -> AbstractContextManager[Progress]:
    return nullcontext(lambda count: None)


def evaluate_model(
    predictor: Predictor, face_set: FaceSet, split: str = "auto", *, flip_tta: bool = False, bar: OpenBar = no_bar
) -> Evaluation:
    """Raises AgedetectError where the data has no such split, or the model or an image fails."""
    chosen = choose_faces(face_set, predictor.spec, split)
    predictions = _predict(predictor, chosen.faces, chosen.split, flip_tta, bar)
    leakage = None
    if chosen.splits and chosen.split == "test":
        duplicates = training_duplicates(chosen.splits)
        found = _predict(predictor, duplicates, "duplicates", flip_tta, bar) if duplicates else None
        leakage = estimate_leakage(chosen.splits, predictions, found)
    context = Context(
        model=predictor.name,
        data=Path(face_set.source).name,
        split=chosen.split,
        why=_why(chosen, flip_tta),
        skipped=len(face_set.skipped),
        nominal_coverage=predictor.spec.coverage,
    )
    median = _age(predictor.spec.provenance.get("median_training_age"))
    return evaluate_predictions(predictions, context, training_median=median, leakage=leakage)


def compare_models(
    first: Predictor,
    second: Predictor,
    face_set: FaceSet,
    split: str = "auto",
    *,
    flip_tta: bool = False,
    bar: OpenBar = no_bar,
) -> Comparison:
    """Raises DataError where there are no faces that both can be evaluated on and that trained neither."""
    chosen = faces_for_both(face_set, [first.spec, second.spec], split)
    names = (first.name, second.name) if first.name != second.name else (f"{first.name} (A)", f"{second.name} (B)")
    one, other = (_predict(model, chosen.faces, model.name, flip_tta, bar) for model in (first, second))
    return compare_predictions(one, other, names=names, why=_why(chosen, flip_tta))


def evaluate_run(
    predictions: Predictions,
    splits: Splits,
    face_set: FaceSet,
    *,
    model: str,
    nominal_coverage: float | None,
    training_median: float,
    duplicates: Predictions | None,
) -> Evaluation:
    """A training run's own evaluation: `predictions` are those for `splits.test`.

    `nominal_coverage` is what its intervals promise, `training_median` the median age in years of `splits.train`;
    `duplicates` are the predictions for `training_duplicates(splits)`, None where there are no such faces.
    """
    context = Context(
        model=model,
        data=Path(face_set.source).name,
        split="test",
        why=TEST_WHY,
        skipped=len(face_set.skipped),
        nominal_coverage=nominal_coverage,
    )
    leakage = estimate_leakage(splits, predictions, duplicates)
    return evaluate_predictions(predictions, context, training_median=training_median, leakage=leakage)


def _predict(
    predictor: Predictor, faces: tuple[Face, ...], label: str, flip_tta: bool, open_bar: OpenBar
) -> Predictions:
    with open_bar(label, len(faces)) as progress:
        return predictor.predict(faces, flip_tta=flip_tta, progress=progress)


def _age(value: object) -> float | None:
    """Provenance is free JSON: None for what is no age."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if MIN_AGE <= value <= MAX_AGE else None


def _why(chosen: EvaluationSet, flip_tta: bool) -> str:
    return f"{chosen.why}; each prediction is the mean over a face and its mirror image" if flip_tta else chosen.why
