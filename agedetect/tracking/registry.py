"""What goes into MLflow's model registry: a trained model as data, and the results of its export."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from numpy.typing import NDArray

from agedetect.models.inference import CalibratedModel
from agedetect.models.registered import CARD, save_registered
from agedetect.tracking.reading import MODEL_FOLDER, RegisteredModel
from agedetect.tracking.store import missing_package, no_transfer_bars, one_line
from agedetect_runtime import ModelError
from agedetect_runtime.spec import METADATA_KEY, ModelSpec

ALIAS = "candidate"
EXPORT_FOLDER = "export"
_REQUIREMENTS = ("torch", "torchvision", "safetensors", "numpy", "pillow", "onnxruntime")
LONGEST_DESCRIPTION = 5000  # characters that MLflow's database keeps


@dataclass(frozen=True)
class Registered:
    """Where the logged model is: `uri` always, name and version where it was registered."""

    uri: str
    name: str | None = None
    version: str | None = None


def log_model(model: CalibratedModel, spec: ModelSpec, example: NDArray[np.uint8]) -> str:
    """To the active run, as data that MLflow's generic loader reads through agedetect; its URI.

    `example`, uint8 (B, S, S, 3), is stored with it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / Path(MODEL_FOLDER).name
        save_registered(model, spec, folder)
        info = mlflow.pyfunc.log_model(
            name="model",
            loader_module="agedetect.tracking.pyfunc",
            data_path=str(folder),
            signature=signature(spec),
            input_example=example,
            metadata={METADATA_KEY: spec.to_json()},
            pip_requirements=[f"{package}=={version(package)}" for package in _REQUIREMENTS],
        )
    mlflow.log_text(spec.card, CARD)
    uri: str = info.model_uri
    return uri


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
    found = mlflow.register_model(uri, name, tags=tags)
    client = MlflowClient()
    text = description_of(spec.card)
    client.update_model_version(name, found.version, description=text)
    client.update_registered_model(name, description=text)
    client.set_registered_model_alias(name, ALIAS, found.version)
    return Registered(f"models:/{name}@{ALIAS}", name, str(found.version))


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
