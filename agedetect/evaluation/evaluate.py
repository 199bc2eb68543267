"""An evaluation from top to bottom: choose the faces, predict, measure. For the command and for training runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple

from agedetect.data.faces import Face, FaceSet
from agedetect.data.splits import Splits
from agedetect.evaluation.comparison import Comparison, compare_predictions
from agedetect.evaluation.leakage import estimate_leakage, training_duplicates
from agedetect.evaluation.pictures import as_it_is, largest_face
from agedetect.evaluation.predictions import Predictions
from agedetect.evaluation.predictor import Predictor, Progress
from agedetect.evaluation.result import Context, Evaluation, FaceFinding, evaluate_predictions
from agedetect.evaluation.sensitivity import crop_sensitivity
from agedetect.evaluation.subset import TEST_WHY, EvaluationSet, choose_faces, faces_for_both
from agedetect_runtime.spec import MAX_AGE, MIN_AGE
from agedetect_runtime.yunet import YuNet

OpenBar = Callable[[str, int], AbstractContextManager[Progress]]  # (label, images): a progress bar


def no_bar(label: str, images: int) -> AbstractContextManager[Progress]:
    return nullcontext(lambda count: None)


def evaluate_model(
    predictor: Predictor,
    face_set: FaceSet,
    split: str = "auto",
    *,
    flip_tta: bool = False,
    detector: YuNet | None = None,
    moved_faces: int = 0,
    bar: OpenBar = no_bar,
) -> Evaluation:
    """With a `detector`, each picture's largest face is found; those without one count in no figure.

    `moved_faces` of the faces, at most, are moved for the crop sensitivity. Raises AgedetectError where the data has no
    such split, or the model or an image fails.
    """
    chosen = choose_faces(face_set, predictor.spec, split)
    options = _Options(flip_tta, detector, bar)
    predictions = _predict(predictor, chosen.faces, chosen.split, options)
    leakage = sensitivity = None
    if chosen.splits and chosen.split == "test" and detector is None:  # what leaked is the picture as it was trained on
        duplicates = training_duplicates(chosen.splits)
        found = _predict(predictor, duplicates, "duplicates", options) if duplicates else None
        leakage = estimate_leakage(chosen.splits, predictions, found)
    if moved_faces:
        sensitivity = crop_sensitivity(predictor, predictions, moved_faces, flip_tta=flip_tta, open_bar=bar)
    context = Context(
        model=predictor.name,
        data=Path(face_set.source).name,
        split=chosen.split,
        why=_why(chosen, options),
        skipped=len(face_set.skipped),
        nominal_coverage=predictor.spec.coverage,
        finding=_finding(chosen.faces, predictions, detector),
    )
    median = _age(predictor.spec.provenance.get("median_training_age"))
    return evaluate_predictions(predictions, context, training_median=median, leakage=leakage, sensitivity=sensitivity)


def compare_models(
    first: Predictor,
    second: Predictor,
    face_set: FaceSet,
    split: str = "auto",
    *,
    flip_tta: bool = False,
    detector: YuNet | None = None,
    bar: OpenBar = no_bar,
) -> Comparison:
    """With a `detector`, in the faces that it finds; both models then answer for the same.

    Raises DataError where there are no faces that both can be evaluated on and that trained neither.
    """
    chosen = faces_for_both(face_set, [first.spec, second.spec], split)
    options = _Options(flip_tta, detector, bar)
    names = (first.name, second.name) if first.name != second.name else (f"{first.name} (A)", f"{second.name} (B)")
    one, other = (_predict(model, chosen.faces, model.name, options) for model in (first, second))
    why = _why(chosen, options)
    if finding := _finding(chosen.faces, one, detector):
        why += f"; {len(one.faces):,} of {finding.pictures:,} pictures show a face"
    return compare_predictions(one, other, names=names, why=why)


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


class _Options(NamedTuple):
    """How pictures are predicted for; without a `detector` as they are."""

    flip_tta: bool
    detector: YuNet | None
    open_bar: OpenBar


def _predict(predictor: Predictor, faces: tuple[Face, ...], label: str, options: _Options) -> Predictions:
    prepare = as_it_is if options.detector is None else largest_face(options.detector)
    with options.open_bar(label, len(faces)) as progress:
        return predictor.predict(faces, flip_tta=options.flip_tta, prepare=prepare, progress=progress)


def _finding(faces: tuple[Face, ...], predictions: Predictions, detector: YuNet | None) -> FaceFinding | None:
    if detector is None:
        return None
    shown = {face.path for face in predictions.faces}
    without = tuple(face.path.name for face in faces if face.path not in shown)
    return FaceFinding(detector=detector.source.name, pictures=len(faces), without_face=without)


def _age(value: object) -> float | None:
    """Provenance is free JSON: None for what is no age."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if MIN_AGE <= value <= MAX_AGE else None


def _why(chosen: EvaluationSet, options: _Options) -> str:
    found = "; the largest face of each picture was found and aligned" if options.detector else ""
    mirrored = "; each prediction is the mean over a face and its mirror image" if options.flip_tta else ""
    return f"{chosen.why}{found}{mirrored}"
