"""An exported model in MLflow's registry, where it takes pictures: linked to its source, with all that it needs."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

import agedetect_runtime
from agedetect.config import REGISTERED_NAME, REGISTERED_NAME_RULE
from agedetect.synthetic.portrait import draw_face
from agedetect.tracking.reading import EXPORTED, RegisteredModel
from agedetect.tracking.registry import Registered, description_of, registered_before
from agedetect.tracking.store import missing_package, no_transfer_bars, one_line
from agedetect_runtime import AgeEstimator, ModelError, ModelSpec
from agedetect_runtime.detectorfile import cached_detector
from agedetect_runtime.pyfunc import COLUMN, CONFIG, DETECTOR, MODEL

EXPORTED_AS = "exported_as"  # a tag of the source: the address of its export
_NAME = "onnx"  # among the models of a run
_DIGEST = "agedetect.sha256"  # a tag of the logged model

_ALIAS = re.compile(r"(?!(latest|v\d+)$)[\w-]{1,255}", re.IGNORECASE)

# What serving needs. The runtime itself is not on a package index: its code travels with the model.
_REQUIREMENTS = ("mlflow-skinny", "pandas", "numpy", "pillow", "onnxruntime", "click")

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, COLUMN)]),  # MLflow lets bytes through as well
    outputs=Schema(
        [
            *(ColSpec(DataType.double, name, required=False) for name in ("age", "low", "high")),
            ColSpec(DataType.string, "error", required=False),
        ]
    ),
    params=ParamSchema([ParamSpec("at_least", DataType.long, None), ParamSpec("find_faces", DataType.boolean, False)]),
)


def check_names(name: str, aliases: Sequence[str]) -> None:
    """Raises ModelError for what MLflow would refuse, or not find again, when all else is done."""
    if not REGISTERED_NAME.fullmatch(name):
        raise ModelError(f"{name!r}: {REGISTERED_NAME_RULE}; give another")
    for alias in aliases:
        if not _ALIAS.fullmatch(alias):
            raise ModelError(
                f"alias {alias!r}: it may have letters, digits, - and _; latest, v1, v2, ... are MLflow's own; "
                "give another"
            )


def register_export(source: RegisteredModel, file: Path, name: str, aliases: Sequence[str] = ()) -> Registered:
    """Register the exported `file` of `source` as a version of `name` that takes pictures, and give it the aliases.

    The version and its source name each other in their tags and descriptions. What the same export has logged or
    registered before, and perhaps was killed then, is taken. Raises ModelError where MLflow refuses.
    """
    check_names(name, aliases)
    try:
        uri = _log(source, file)
        number = str((registered_before(uri, name) or mlflow.register_model(uri, name)).version)
        for alias in aliases:
            MlflowClient().set_registered_model_alias(name, alias, number)
        with AgeEstimator(file, device="cpu") as estimator:
            _link(source, estimator.spec, name, number)
    except (MlflowException, OSError) as error:
        raise ModelError(f"{name}: the exported model was not registered: {one_line(error)}") from error
    except ModuleNotFoundError as error:
        raise ModelError(missing_package(name, error)) from error
    return Registered(f"models:/{name}/{number}", name, number)


def _log(source: RegisteredModel, file: Path) -> str:
    """The URI of the logged model."""
    with tempfile.TemporaryDirectory() as scratch, no_transfer_bars():
        data = Path(scratch) / Path(EXPORTED).parent.name
        data.mkdir()
        shutil.copyfile(file, data / MODEL)
        if detector := cached_detector():
            shutil.copyfile(detector, data / DETECTOR)
        run_id = source.run_id if source.tracked else None
        logged = _logged_model(run_id, _digest(data)) if run_id else None
        if logged and logged.status == LoggedModelStatus.READY:
            return str(logged.model_uri)
        info = Model.log(
            artifact_path=None,
            name=_NAME,
            flavor=Pictures,
            run_id=None if run_id and logged and _is_output(run_id, logged) else run_id,
            model_id=logged and logged.model_id,
            validate_serving_input=False,  # tests do
            data=data,
            source_run_id=run_id,
        )
    return str(info.model_uri)


def _digest(data: Path) -> str:
    """Of the files, and of the versions of what runs them."""
    digest = hashlib.sha256("\n".join(_pinned(("agedetect", *_REQUIREMENTS))).encode())
    for file in sorted(data.iterdir()):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def _pinned(packages: Sequence[str]) -> list[str]:
    return [f"{package}=={version(package)}" for package in packages]


def _logged_model(run_id: str, digest: str) -> LoggedModel:
    """The run's for these files: a whole one, else one whose export was killed, else a new one.

    MLflow itself would make it in the active experiment, not in the run's own.
    """
    client = MlflowClient()
    experiment = client.get_run(run_id).info.experiment_id
    models = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
    same = [model for model in models if model.tags.get(_DIGEST) == digest]
    if same:
        return min(same, key=lambda model: model.status != LoggedModelStatus.READY)
    return client.create_logged_model(experiment, _NAME, source_run_id=run_id, tags={_DIGEST: digest})


def _is_output(run_id: str, logged: LoggedModel) -> bool:
    """MLflow's database refuses the same output of a run a second time."""
    outputs = MlflowClient().get_run(run_id).outputs
    return outputs is not None and any(output.model_id == logged.model_id for output in outputs.model_outputs)


class Pictures:
    """A "flavor" for `Model.log`: writes the runtime's view of the model, and MLflow's own of the ONNX file."""

    @staticmethod
    def save_model(path: str, mlflow_model: Model, data: Path, source_run_id: str | None = None, **_: object) -> None:
        mlflow_model.run_id = source_run_id
        mlflow_model.add_flavor(
            "onnx", onnx_version=version("onnx"), data=EXPORTED, providers=["CPUExecutionProvider"], code=None
        )
        mlflow.pyfunc.save_model(
            path=path,
            mlflow_model=mlflow_model,
            loader_module="agedetect_runtime.pyfunc",
            data_path=str(data),
            code_paths=[str(Path(agedetect_runtime.__file__).parent)],
            model_config=dict(CONFIG),
            signature=SIGNATURE,
            input_example=pd.DataFrame({COLUMN: [_example()]}),
            pip_requirements=_pinned(_REQUIREMENTS),
        )


def _example() -> str:
    """A drawn face as a JPEG in base64."""
    picture = io.BytesIO()
    draw_face(34, 1, 0, np.random.default_rng(0)).save(picture, "JPEG", quality=80)
    return base64.b64encode(picture.getvalue()).decode()


def _link(source: RegisteredModel, spec: ModelSpec, name: str, number: str) -> None:
    client, here = MlflowClient(), f"models:/{name}/{number}"
    origin = f"models:/{source.registered_name}/{source.version}" if source.version else source.address
    for tag, value in {
        "source": origin,
        "precision": spec.precision,
        "backbone": spec.backbone,
        "data_licence": spec.provenance["data_licence"],
    }.items():
        client.set_model_version_tag(name, number, tag, value)
    text = description_of(f"Takes pictures; exported from {origin}.\n\n{spec.card}")
    client.update_model_version(name, number, description=text)
    client.update_registered_model(name, description=text)
    if source.registered_name and source.version:
        client.set_model_version_tag(source.registered_name, source.version, EXPORTED_AS, here)
        before = client.get_model_version(source.registered_name, source.version).description or ""
        rest = re.sub(r"^Exported as \S+\.\n\n", "", before, flags=re.MULTILINE)
        client.update_model_version(
            source.registered_name, source.version, description=description_of(f"Exported as {here}.\n\n{rest}")
        )
