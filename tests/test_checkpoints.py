"""Which epoch's weights a run keeps, and what it makes of the settings of an earlier version."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import torch

from agedetect import TrainConfig
from agedetect.errors import RunError
from agedetect.evaluation.metrics import Metrics
from agedetect.tracking.checkpoints import Epoch, Snapshot, kept_weights, save_checkpoint
from agedetect.tracking.reading import CONFIG, read_config

MAES = [6.0, 4.0, 5.0]  # the second epoch is the best


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    yield
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.mark.parametrize(("schedule", "kept"), [("cosine", 3), ("plateau", 2)])
def test_a_cosine_keeps_its_last_epoch_and_a_plateau_its_best(schedule: str, kept: int) -> None:
    keep_best = TrainConfig(schedule=schedule).keeps_best
    history: list[Epoch] = []
    with mlflow.start_run() as run:
        for number, mae in enumerate(MAES, start=1):
            metrics = Metrics(mae=mae, mse=mae**2, rmse=mae, r2=0.0, within_5=0.5, within_10=0.9)
            history.append(Epoch(number, "all", 1.0, 1.0, metrics, 1e-3, 100.0))
            averaged = {"n_averaged": torch.tensor(number), "module.w": torch.tensor([10.0 * number])}
            save_checkpoint(
                history, Snapshot(number, {"w": torch.tensor([1.0 * number])}, averaged, {}, {}), keep_best=keep_best
            )
    assert kept_weights(run.info.run_id, history, keep_best=keep_best) == {"w": torch.tensor([10.0 * kept])}


def test_the_settings_of_an_earlier_run_are_read_or_refused_in_one_line() -> None:
    stored = {**TrainConfig(augment="flip").to_dict(), "plateau_epochs": 1, "head_epochs": 3, "workers": 2}
    del stored["start"]
    with mlflow.start_run() as run:
        mlflow.log_dict(stored, CONFIG)
    assert read_config(run.info.run_id) == TrainConfig(augment="flip", loss="soft_labels", head_epochs=3, workers=2)
    with mlflow.start_run() as other:
        mlflow.log_dict({**stored, "augment": "flip,blur"}, CONFIG)
    with pytest.raises(RunError, match=r"this version can't train with its settings: augment: blur: .*; start anew"):
        read_config(other.info.run_id)
