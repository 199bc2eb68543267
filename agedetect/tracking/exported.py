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
from mlflow.entities import LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

import agedetect_runtime
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


def register_export(source: RegisteredModel, file: Path, name: str, aliases: Sequence[str] = ()) -> Registered:
    """Register the exported `file` of `source` as a version of `name` that takes pictures, and give it the aliases.

    The version and its source name each other in their tags and descriptions. What the same export has logged or
    registered before, and perhaps was killed then, is taken. Raises ModelError where MLflow refuses.
    """
    try:
        found, is_new = _log(source, file, name)
        try:
            for alias in aliases:
                MlflowClient().set_registered_model_alias(name, alias, found)
        except MlflowException:
            if is_new:
                MlflowClient().delete_model_version(name, found)
            raise
        with AgeEstimator(file, device="cpu") as estimator:
            _link(source, estimator.spec, name, found)
    except (MlflowException, OSError) as error:
        raise ModelError(f"{name}: the exported model was not registered: {one_line(error)}") from error
    except ModuleNotFoundError as error:
        raise ModelError(missing_package(name, error)) from error
    return Registered(f"models:/{name}/{found}", name, found)


def _log(source: RegisteredModel, file: Path, name: str) -> tuple[str, bool]:
    """The version's number, and whether it is new."""
    with tempfile.TemporaryDirectory() as scratch, no_transfer_bars():
        data = Path(scratch) / Path(EXPORTED).parent.name
        data.mkdir()
        shutil.copyfile(file, data / MODEL)
        if detector := cached_detector():
            shutil.copyfile(detector, data / DETECTOR)
        run_id = source.run_id if source.tracked else None
        digest = _digest(data)
        if run_id and (uri := _logged_before(run_id, digest)):
            before = registered_before(uri, name)
            return str((before or mlflow.register_model(uri, name)).version), before is None
        info = Model.log(
            artifact_path=None,
            name=_NAME,
            flavor=Pictures,
            run_id=run_id,
            model_id=run_id and _logged_beside(run_id, digest),
            registered_model_name=name,
            validate_serving_input=False,  # tests do
            data=data,
        )
    return str(info.registered_model_version), True


def _digest(data: Path) -> str:
    """Of the files, and of the versions of what runs them."""
    digest = hashlib.sha256("\n".join(_pinned(("agedetect", *_REQUIREMENTS))).encode())
    for file in sorted(data.iterdir()):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def _pinned(packages: Sequence[str]) -> list[str]:
    return [f"{package}=={version(package)}" for package in packages]


def _logged_before(run_id: str, digest: str) -> str | None:
    """The URI of the run's logged model with the same files."""
    models = MlflowClient().search_logged_models([_experiment_id(run_id)], f"source_run_id = '{run_id}'")
    whole = (model for model in models if model.status == LoggedModelStatus.READY)
    return next((str(model.model_uri) for model in whole if model.tags.get(_DIGEST) == digest), None)


def _logged_beside(run_id: str, digest: str) -> str:
    """The id of an empty logged model of the run's own experiment; MLflow would take the active one."""
    tags = {_DIGEST: digest}
    logged = MlflowClient().create_logged_model(_experiment_id(run_id), _NAME, source_run_id=run_id, tags=tags)
    return str(logged.model_id)


def _experiment_id(run_id: str) -> str:
    return str(MlflowClient().get_run(run_id).info.experiment_id)


class Pictures:
    """A "flavor" for `Model.log`: writes the runtime's view of the model, and MLflow's own of the ONNX file."""

    @staticmethod
    def save_model(path: str, mlflow_model: Model, data: Path, **_: object) -> None:
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
