"""What goes into MLflow's model registry: a trained model as data, and the results of its export."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, Metric
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.types import Schema, TensorSpec
from numpy.typing import NDArray

from agedetect.models.inference import CalibratedModel
from agedetect.models.registered import CARD, save_registered
from agedetect.tracking.queue import Entry
from agedetect.tracking.reading import MODEL_FOLDER, RegisteredModel
from agedetect.tracking.store import missing_package, no_transfer_bars, one_line, upload_files
from agedetect_runtime import ModelError
from agedetect_runtime.spec import METADATA_KEY, ModelSpec

ALIAS = "candidate"
EXPORT_FOLDER = "export"
MODEL_NAME = "model"
_REQUIREMENTS = ("torch", "torchvision", "safetensors", "numpy", "pillow", "onnxruntime")
LONGEST_DESCRIPTION = 5000  # characters that MLflow's database keeps


@dataclass(frozen=True)
class Registered:
    """Where the logged model is: `uri` always, name and version where it was registered."""

    uri: str
    name: str | None = None
    version: str | None = None


def save_model(model: CalibratedModel, spec: ModelSpec, example: NDArray[np.uint8], folder: Path) -> None:
    """As an MLflow model in the new folder `folder`: data that its generic loader reads through agedetect.

    `example`, uint8 (B, S, S, 3), is stored with it.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        data = Path(scratch) / Path(MODEL_FOLDER).name
        save_registered(model, spec, data)
        mlflow.pyfunc.save_model(
            path=str(folder),
            loader_module="agedetect.tracking.pyfunc",
            data_path=str(data),
            signature=signature(spec),
            input_example=example,
            metadata={METADATA_KEY: spec.to_json()},
            pip_requirements=[f"{package}=={version(package)}" for package in _REQUIREMENTS],
        )


def publish(entry: Entry, run_id: str) -> Registered:
    """Log the model of a finished run, and register it under `entry.body["name"]` where there is one; each once.

    MLflow's own log_model would save and send in one step, and reads the history of every metric of the run.
    """
    client, body, folder = MlflowClient(), entry.body, entry.files / MODEL_NAME
    if "model_id" not in body:
        made = client.search_logged_models([body["experiment_id"]], f"source_run_id = '{run_id}'")
        logged = (
            made[0] if made else client.create_logged_model(body["experiment_id"], MODEL_NAME, source_run_id=run_id)
        )
        entry.update(model_id=logged.model_id)
    model_id = body["model_id"]
    if not body.get("uploaded"):
        _upload(client, folder, client.get_logged_model(model_id), run_id)
        entry.update(uploaded=True)
    client.log_batch(run_id, [_of_model(point, model_id) for point in body["metrics"]])
    uri = f"models:/{model_id}"
    if not body["name"]:
        return Registered(uri)
    metadata = Model.load(str(folder)).metadata or {}
    return register(uri, body["name"], ModelSpec.from_json(metadata[METADATA_KEY]))


def _of_model(point: tuple[str, float, int, int], model_id: str) -> Metric:
    name, value, time_ms, step = point
    return Metric(name, value, time_ms, step, model_id=model_id)


def _upload(client: MlflowClient, folder: Path, logged: LoggedModel, run_id: str) -> None:
    """What `save_model` saved, as the run's model."""
    saved = Model.load(str(folder))
    saved.model_id = saved.model_uuid = logged.model_id
    saved.run_id, saved.artifact_path = run_id, logged.artifact_location
    saved.save(str(folder / MLMODEL_FILE_NAME))
    upload_files(folder, partial(client.log_model_artifact, logged.model_id))
    client.finalize_logged_model(logged.model_id, "READY")
    outputs = client.get_run(run_id).outputs
    if outputs is None or all(output.model_id != logged.model_id for output in outputs.model_outputs):
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])


def signature(spec: ModelSpec) -> ModelSignature:
    size = spec.image_size
    shapes = {name: (-1, spec.bins) if name == "probabilities" else (-1,) for name in spec.outputs}
    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, size, size, 3))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), shape, name) for name, shape in shapes.items()]),
    )


def register(uri: str, name: str, spec: ModelSpec) -> Registered:
    """Register a logged model under `name` with the alias "candidate"; the card is its description."""
    tags = {
        "test_mae": f"{spec.provenance['test']['mae']:.4f}",
        "backbone": spec.backbone,
        "data_fingerprint": spec.provenance["split_fingerprint"],
        "data_licence": spec.provenance["data_licence"],
    }
    client = MlflowClient()
    found = registered_before(uri, name) or mlflow.register_model(uri, name, tags=tags)
    text = description_of(spec.card)
    client.update_model_version(name, found.version, description=text)
    client.update_registered_model(name, description=text)
    client.set_registered_model_alias(name, ALIAS, found.version)
    return Registered(f"models:/{name}@{ALIAS}", name, str(found.version))


def registered_before(uri: str, name: str) -> ModelVersion | None:
    """The version that a process registered which was killed afterwards.

    A server answers without the model's id, but with its URI as the source.
    """
    versions = MlflowClient().search_model_versions(f"name='{name}'")
    return next((found for found in versions if uri in (found.source, f"models:/{found.model_id}")), None)


def description_of(card: str) -> str:
    """The card, or as many of its sections as MLflow's database holds."""
    if len(card) <= LONGEST_DESCRIPTION:
        return card
    rest = f"\n\n*The whole card is {CARD}, among the artifacts of the run.*"
    kept = card[: LONGEST_DESCRIPTION - len(rest)]
    return kept[: kept.rfind("\n#")].rstrip() + rest


def log_export(
    model: RegisteredModel, files: Sequence[Path], metrics: Mapping[str, float], verdicts: Mapping[str, str]
) -> None:
    """Log the files under `export/` and the metrics to the model's run, and tag its version with the verdicts.

    Raises ModelError where MLflow refuses.
    """
    if model.run_id is None:
        raise ModelError(f"{model.address}: it has no run to log the export to")
    client = MlflowClient()
    try:
        with no_transfer_bars():
            for file in files:
                client.log_artifact(model.run_id, str(file), EXPORT_FOLDER)
        for name, value in metrics.items():
            client.log_metric(model.run_id, f"{EXPORT_FOLDER}/{name}", value)
        if model.registered_name and model.version:
            for name, verdict in verdicts.items():
                client.set_model_version_tag(model.registered_name, model.version, name, verdict)
    except (MlflowException, OSError) as error:
        raise ModelError(f"run {model.run_id}: the export was not logged: {one_line(error)}") from error
    except ModuleNotFoundError as error:
        raise ModelError(missing_package(f"run {model.run_id}", error)) from error
