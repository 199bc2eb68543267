"""A run of MLflow: which experiment it goes to, and what it is called."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from agedetect import TrainConfig
from agedetect.tracking.runs import EXPERIMENT, open_run

CONFIG = TrainConfig(model_name="timm/local-dir:/home/ann/faces_net", image_size=64)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    yield
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    os.environ.pop("MLFLOW_TRACKING_URI", None)


def test_one_process_may_train_in_one_store_after_another(tmp_path: Path) -> None:
    for name in ("one.db", "other.db", "one.db"):
        mlflow.set_tracking_uri(f"sqlite:///{tmp_path / name}")
        if name == "other.db":
            MlflowClient().create_experiment("another")  # so that the ids of the two stores differ
        with open_run(CONFIG) as run:
            found = MlflowClient().get_run(run.id)
        assert MlflowClient().get_experiment(found.info.experiment_id).name == EXPERIMENT
    assert "MLFLOW_EXPERIMENT_ID" not in os.environ


def test_a_run_is_named_by_its_result_unless_somebody_named_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    with open_run(CONFIG) as run:
        run.name_by("test MAE 4.55")
    assert MlflowClient().get_run(run.id).info.run_name == "timm/faces_net, 64 px, test MAE 4.55"
    monkeypatch.setenv("MLFLOW_RUN_NAME", "for the paper")
    named = MlflowClient().create_run("0", run_name="for the paper")
    monkeypatch.setenv("MLFLOW_RUN_ID", named.info.run_id)  # as `mlflow run --run-name` leaves it
    with open_run(CONFIG) as run:
        run.name_by("test MAE 4.55")
    assert run.id == named.info.run_id
    assert MlflowClient().get_run(run.id).info.run_name == "for the paper"
