"""Fixtures, used as a pytest plugin: a real MLflow store with a model in it, logged as the trainer does."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import RunInfo

from agedetect.tracking.queue import Queue
from agedetect.tracking.reading import RegisteredModel, load_registered_model
from agedetect.tracking.registry import MODEL_NAME, publish, register, save_model
from agedetect_runtime.spec import ModelSpec
from export_source import Store, draw_images, draw_pixels, small_model, small_spec


def log_like_the_trainer(root: Path) -> Store:
    """A run with data/splits.csv and a model, registered as `agedetect` with the alias `candidate`."""
    images = draw_images(root / "faces", 30)
    more = draw_images(root / "more", 24, seed=6)
    table = root / "splits.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "path", "age", "gender", "race", "digest"])
        for index, path in enumerate(images):
            split = ("train", "validation", "validation", "test")[index % 4] if index < 28 else "train"
            writer.writerow([split, path, index * 3 + 1, "", "", f"{index:04}"])
        for index, path in enumerate(more):
            writer.writerow(["train", path, index * 3 + 1, "", "", f"{100 + index:04}"])
    client = MlflowClient()
    experiment = client.create_experiment("agedetect", artifact_location=(root / "artifacts").as_uri())
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_param("data_dir", str(root / "faces"))
        mlflow.log_artifact(str(table), "data")
        spec = small_spec(run.info.run_id)
        uri = log_small_model(spec, run.info)
        register(uri, "agedetect", spec)
    validation = [path for index, path in enumerate(images[:28]) if index % 4 in (1, 2)]
    return Store(mlflow.get_tracking_uri(), root, run.info.run_id, uri, validation)


def log_small_model(spec: ModelSpec, run: RunInfo) -> str:
    """As a training does, without registering it; its URI."""

    def save(folder: Path) -> None:
        save_model(small_model(), spec, draw_pixels(1, spec.image_size), folder / MODEL_NAME)

    with TemporaryDirectory() as folder:
        queue = Queue(Path(folder))
        queue.add("result", {"name": "", "experiment_id": run.experiment_id, "metrics": []}, save)
        entry = queue.first()
        assert entry is not None
        return publish(entry, run.run_id).uri


@contextmanager
def tracking(uri: str) -> Iterator[None]:
    """MLflow keeps what it was told in a global and in the environment; afterwards neither knows of `uri`."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


@pytest.fixture(scope="session")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("store") / "my runs, 100%"  # a folder name that a URI has to quote
    root.mkdir()
    with tracking(f"sqlite:///{quote(str(root / 'mlflow.db'))}"):
        return log_like_the_trainer(root)


@pytest.fixture(scope="session")
def registered(logged: Store) -> RegisteredModel:
    """The logged model as the exporter loads it."""
    with tracking(logged.uri):
        return load_registered_model("models:/agedetect@candidate")


@pytest.fixture
def store(logged: Store) -> Iterator[Store]:
    """The logged model, in the store that is in use."""
    with tracking(logged.uri):
        yield logged
