"""What is known and kept after each epoch, and the checkpoints of a run in MLflow."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import mlflow
import torch
from mlflow.tracking import MlflowClient

from agedetect.data.splits import Splits
from agedetect.errors import RunError
from agedetect.evaluation.metrics import Metrics
from agedetect.tracking.store import FINISHED, download
from agedetect_runtime import ModelError

Part = Literal["head", "all"]
_BEST = "checkpoint/best.pt"
STATES = ("checkpoint/even.pt", "checkpoint/odd.pt")


@dataclass(frozen=True)
class Epoch:
    """What one epoch did. `metrics` are the validation faces'; the losses are means over images."""

    number: int
    part: Part
    train_loss: float
    validation_loss: float
    metrics: Metrics
    learning_rate: float
    images_per_second: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Epoch:
        return cls(**{**values, "metrics": Metrics(**values["metrics"])})

    def __str__(self) -> str:
        return (
            f"epoch {self.number} ({self.part}): loss {self.train_loss:.3f}, validation MAE {self.metrics.mae:.3f} "
            f"years, R2 {self.metrics.r2:.3f}, {self.images_per_second:.0f} images/s"
        )


@dataclass(frozen=True)
class Snapshot:
    """All that the epochs after `epoch` depend on: the random streams are seeded anew by each epoch's number.

    The tensors are not copies: save it before training continues. `ema` is the moving average of the weights,
    empty where there is none.
    """

    epoch: int
    model: dict[str, Any]
    ema: dict[str, Any]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]

    @property
    def evaluated(self) -> dict[str, Any]:
        """The weights that the epoch's metrics are of."""
        inner = "module."  # AveragedModel's name for the model it holds
        averaged = {name.removeprefix(inner): value for name, value in self.ema.items() if name.startswith(inner)}
        return averaged or self.model


@dataclass(frozen=True)
class Checkpoint:
    """A snapshot and the epochs that led to it, as one file of tensors and plain values."""

    history: list[Epoch]
    snapshot: Snapshot

    def save(self, path: Path) -> None:
        torch.save({"history": [epoch.to_dict() for epoch in self.history], **vars(self.snapshot)}, path)

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        values = torch.load(path, "cpu", weights_only=True)
        history = [Epoch.from_dict(epoch) for epoch in values.pop("history")]
        return cls(history, Snapshot(**values))


def save_checkpoint(history: Sequence[Epoch], snapshot: Snapshot, *, keep_best: bool) -> None:
    """To the active run: with `keep_best` the weights if they are the best so far, then the state to resume from.

    States of even and odd epochs take turns, so that one is whole wherever the process is killed.
    """
    best = min(history, key=lambda epoch: epoch.metrics.mae)
    if keep_best and best.number == snapshot.epoch:
        _log_file(_BEST, lambda path: torch.save(snapshot.evaluated, path))
    _log_file(STATES[snapshot.epoch % 2], Checkpoint(list(history), snapshot).save)


def kept_weights(run_id: str, history: Sequence[Epoch], *, keep_best: bool) -> dict[str, Any]:
    """Of the epoch with the lowest validation MAE, or else of the last one. Raises RunError where those are lost."""
    if not keep_best:
        last = _last_checkpoint(run_id).snapshot
        if last.epoch != history[-1].number:
            raise RunError(f"run {run_id}: the weights of epoch {history[-1].number} can't be read back: resume it")
        return last.evaluated
    with tempfile.TemporaryDirectory() as folder:
        path = download(f"runs:/{run_id}/{_BEST}", Path(folder))
        state: dict[str, Any] = torch.load(path, "cpu", weights_only=True)
    return state


def read_checkpoint(run_id: str, splits: Splits) -> Checkpoint:
    """The state after the last epoch that was finished. Raises RunError where there was none, or on other data."""
    run = MlflowClient().get_run(run_id)
    if run.info.status == FINISHED:
        raise RunError(f"run {run_id}: it is finished, and its test faces are evaluated once: start a new one")
    fingerprint = run.data.tags.get("split_fingerprint", splits.fingerprint)  # none: stopped before any epoch
    if fingerprint != splits.fingerprint:
        raise RunError(
            f"run {run_id}: it was trained on the split {fingerprint}, the faces now give {splits.fingerprint}: "
            "restore them as they were, or start anew, as for a run of a version that kept near-duplicates"
        )
    return _last_checkpoint(run_id)


def _last_checkpoint(run_id: str) -> Checkpoint:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name in STATES:
            try:
                found.append(Checkpoint.load(download(f"runs:/{run_id}/{name}", Path(folder))))
            except (ModelError, OSError, RuntimeError, EOFError, UnpicklingError):
                continue  # never written, or cut off while it was: the other one is whole
    if not found:
        raise RunError(f"run {run_id}: no epoch of it was finished, so there is nothing to resume: start it anew")
    return max(found, key=lambda checkpoint: checkpoint.snapshot.epoch)


def _log_file(artifact: str, write: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(artifact).name
        write(path)
        mlflow.log_artifact(str(path), str(Path(artifact).parent))
