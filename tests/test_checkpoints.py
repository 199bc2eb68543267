"""Which epoch's weights a run keeps, and what it makes of the settings of an earlier version."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest
import torch

from agedetect import TrainConfig
from agedetect.errors import RunError
from agedetect.evaluation.metrics import Metrics
from agedetect.tracking.checkpoints import Epoch, Snapshot, kept_weights, last_checkpoint, save_checkpoint
from agedetect.tracking.reading import CONFIG, read_config

Epochs = Callable[..., list[Epoch]]
MAES = [6.0, 4.0, 5.0]  # the second epoch is the best


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    yield
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture
def epochs(tmp_path: Path) -> Epochs:
    """Saves the states of three epochs with these settings, or of fewer; the history."""

    def save(*, keep_best: bool, count: int = len(MAES)) -> list[Epoch]:
        history: list[Epoch] = []
        for number, mae in enumerate(MAES[:count], start=1):
            metrics = Metrics(mae=mae, mse=mae**2, rmse=mae, r2=0.0, within_5=0.5, within_10=0.9)
            history.append(Epoch(number, "all", 1.0, 1.0, metrics, 1e-3, 100.0))
            averaged = {"n_averaged": torch.tensor(number), "module.w": torch.tensor([10.0 * number])}
            snapshot = Snapshot(number, {"w": torch.tensor([1.0 * number])}, averaged, {}, {})
            save_checkpoint(tmp_path / "states", history, snapshot, keep_best=keep_best)
        return history

    return save


@pytest.mark.parametrize(("schedule", "kept"), [("cosine", 3), ("plateau", 2)])
def test_a_cosine_keeps_its_last_epoch_and_a_plateau_its_best(
    schedule: str, kept: int, epochs: Epochs, tmp_path: Path
) -> None:
    keep_best = TrainConfig(schedule=schedule).keeps_best
    history = epochs(keep_best=keep_best)
    assert kept_weights(tmp_path / "states", history, keep_best=keep_best) == {"w": torch.tensor([10.0 * kept])}


def test_a_state_that_is_cut_off_leaves_the_one_before(epochs: Epochs, tmp_path: Path) -> None:
    epochs(keep_best=False)
    odd = tmp_path / "states" / "odd.pt"
    odd.write_bytes(odd.read_bytes()[:-100])
    found = last_checkpoint(tmp_path / "states")
    assert found is not None
    assert [epoch.number for epoch in found.history] == [1, 2]


def test_a_state_goes_with_its_own_best_weights_only(epochs: Epochs, tmp_path: Path) -> None:
    """Epoch 2 was the best so far, and the kill came between its state and its weights: epoch 1's are there."""
    states = tmp_path / "states"
    epochs(keep_best=True, count=1)
    first = (states / "best.pt").read_bytes()
    epochs(keep_best=True, count=2)
    (states / "best.pt").write_bytes(first)
    found = last_checkpoint(states)
    assert found is not None
    assert found.snapshot.epoch == 1


def test_a_full_disk_is_one_line_and_the_states_before_stay(epochs: Epochs, tmp_path: Path) -> None:
    history = epochs(keep_best=False)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # bytes: the state has more
    try:
        with pytest.raises(RunError, match=r"states: the state after epoch 1 can't be written: .*; \d+ MB are free"):
            epochs(keep_best=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(path.name for path in (tmp_path / "states").iterdir()) == ["even.pt", "odd.pt"]
    found = last_checkpoint(tmp_path / "states")
    assert found is not None
    assert found.history == history


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
