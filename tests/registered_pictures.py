"""An exported model in a registry of its own: a tiny ONNX file, registered as the exporter does."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import onnx

from agedetect.tracking.exported import register_export
from agedetect.tracking.reading import load_registered_model
from agedetect.tracking.registry import Registered
from agedetect_runtime import ModelSpec
from export_source import Store
from export_store import log_like_the_trainer, tracking
from tiny_models import write_tiny_model

NAME = "agedetect-onnx"
URI = f"models:/{NAME}@champion"


def own_store(root: Path) -> Store:
    """As the session's, whose descriptions and versions other tests read and these change."""
    with tracking(f"sqlite:///{root / 'mlflow.db'}"):
        return log_like_the_trainer(root)


def write_licensed_model(path: Path) -> Path:
    """A tiny model whose file says what the exporter's says: a card, and the licence of its data."""
    model = onnx.load(write_tiny_model(path, coverage=0.9, head="distribution"))
    (item,) = model.metadata_props
    spec = ModelSpec.from_json(item.value)
    item.value = dataclasses.replace(spec, card="# A tiny model\n", provenance={"data_licence": "free"}).to_json()
    onnx.save(model, path)
    return path


def register_pictures(file: Path) -> Registered:
    """In the store in use, as an export of `models:/agedetect@candidate`."""
    return register_export(load_registered_model("models:/agedetect@candidate"), file, NAME, ["champion"])
