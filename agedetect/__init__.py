"""Ages from faces: read labelled faces, train, evaluate, compare and export, one call each.

    from agedetect import TrainConfig, evaluate, export, read_faces, train

    faces = read_faces("UTKFace_data")
    run = train(faces, TrainConfig(model_name="resnet50", epochs=11))
    print(evaluate(run.model, faces))
    export(run.model, "age.onnx")

Importing the package is cheap: torch, MLflow and other large packages are imported on first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agedetect.config import TrainConfig
    from agedetect.data.faces import FaceSet, read_faces
    from agedetect.evaluation.evaluate import OpenBar
    from agedetect.evaluation.predictor import Predictor
    from agedetect.reports.report import ComparisonReport, EvaluationReport
    from agedetect.tracking.registry import Registered
    from agedetect.training.train import train
    from agedetect_export.report import ParityReport
    from agedetect_runtime.yunet import YuNet

    Model = str | Path | Registered | Predictor

__all__ = ["TrainConfig", "compare", "evaluate", "export", "load_model", "read_faces", "train"]

try:
    __version__ = version("agedetect")
except PackageNotFoundError:  # run from a checkout that isn't installed, as `mlflow run` does
    __version__ = "0+checkout"

_HOMES = {
    "TrainConfig": "agedetect.config",
    "read_faces": "agedetect.data.faces",
    "train": "agedetect.training.train",
}


def __getattr__(name: str) -> Any:
    """Import on first use (PEP 562)."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_model(model: Model) -> Predictor:
    """Load a model to predict with.

    `model` is an .onnx file, models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN_ID/model, an MLflow model folder or
    the `model` of a training run. Its `predict(faces)` returns Predictions; its `spec` describes it. Nothing in the
    files is unpickled or executed. Raises AgedetectError if the model can't be loaded.
    """
    from agedetect.evaluation.predictor import Predictor, open_exported

    if isinstance(model, Predictor):
        return model
    address = str(model) if isinstance(model, str | Path) else model.uri
    if address.lower().endswith(".onnx"):
        return open_exported(address)
    from agedetect.tracking.reading import load_registered_model

    return load_registered_model(address)


def evaluate(
    model: Model,
    faces: FaceSet | str | Path,
    *,
    split: str = "auto",
    flip_tta: bool = False,
    find_faces: bool = False,
    detector: str | Path | YuNet | None = None,
    crop_sensitivity: int = 0,
    bar: OpenBar | None = None,
) -> EvaluationReport:
    """Evaluate a model on labelled faces; the report shows itself in a notebook, and has `to_frame` and `save`.

    `split` is "test", "validation" or "all"; "auto" is the test split if `faces` are those the model was trained on,
    else all of them. With `flip_tta` each prediction is the mean over the face and its mirror image.

    With `find_faces` the pictures are any photos: the largest face of each is found and aligned onto the model's
    template; a photo without one is listed in `result.context.finding` and counts in no figure. `detector` is a YuNet
    file, or one that is open; by default the known one, downloaded once. `crop_sensitivity` is the number of faces,
    drawn with a seed, that are estimated again larger, smaller, shifted and turned: 17 predictions each; 0 omits it.

    `bar` opens a progress bar. Raises AgedetectError if the model, the faces or the split can't be used, if the
    detector can't be had, and for `crop_sensitivity` with `find_faces`, which would undo the movements.
    """
    from agedetect.evaluation.evaluate import evaluate_model, no_bar
    from agedetect.reports.report import EvaluationReport

    _check_finding(find_faces, detector, crop_sensitivity)
    predictor = load_model(model)
    result = evaluate_model(
        predictor,
        _face_set(faces),
        split,
        flip_tta=flip_tta,
        detector=_open_detector(detector) if find_faces else None,
        moved_faces=crop_sensitivity,
        bar=bar or no_bar,
    )
    return EvaluationReport(result)


def compare(
    first: Model,
    second: Model,
    faces: FaceSet | str | Path,
    *,
    split: str = "auto",
    flip_tta: bool = False,
    find_faces: bool = False,
    detector: str | Path | YuNet | None = None,
    bar: OpenBar | None = None,
) -> ComparisonReport:
    """Compare two models, face by face, on faces that neither was trained on.

    The options are those of `evaluate`. Raises DataError if there are no such faces.
    """
    from agedetect.evaluation.evaluate import compare_models, no_bar
    from agedetect.reports.report import ComparisonReport

    _check_finding(find_faces, detector)
    models = load_model(first), load_model(second)
    result = compare_models(
        *models,
        _face_set(faces),
        split,
        flip_tta=flip_tta,
        detector=_open_detector(detector) if find_faces else None,
        bar=bar or no_bar,
    )
    return ComparisonReport(result)


def export(
    model: Model,
    output: str | Path,
    *,
    precision: str = "float32",
    faces: str | Path | None = None,
    register: str = "",
    aliases: Sequence[str] = (),
    force: bool = False,
) -> ParityReport:
    """Export a registered model to one ONNX file if it gives the same ages as the network; returns the parity report.

    Ages are compared on the validation images of the model's run, or on the images in the folder `faces`. `precision`
    may be "int8", which is refused if it costs too much accuracy. `register` is a name to register the file under, as a
    model that takes pictures, with the aliases `aliases`. `force` replaces an existing file.
    Raises AgedetectError, and writes nothing, if the ages differ or the file can't be written.
    """
    from agedetect_export.export import ExportOptions, export_model

    folder = None if faces is None else Path(faces)
    options = ExportOptions(precision=precision, faces=folder, register=register, alias=tuple(aliases), force=force)
    return export_model(load_model(model), Path(output), options)


def _face_set(faces: FaceSet | str | Path) -> FaceSet:
    from agedetect.data.faces import FaceSet, read_faces

    return faces if isinstance(faces, FaceSet) else read_faces(Path(faces))


def _check_finding(find_faces: bool, detector: object, crop_sensitivity: int = 0) -> None:
    from agedetect.errors import ConfigError

    if detector is not None and not find_faces:
        raise ConfigError(f"detector {detector}: it needs find_faces")
    if crop_sensitivity < 0:
        raise ConfigError(f"crop_sensitivity {crop_sensitivity} is not a number of faces")
    if crop_sensitivity and find_faces:
        raise ConfigError("crop_sensitivity moves pictures as they are, and find_faces would undo it: omit one of them")


def _open_detector(detector: str | Path | YuNet | None) -> YuNet:
    from agedetect.evaluation.pictures import open_detector

    return open_detector(detector)
