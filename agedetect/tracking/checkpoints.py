"""What is known and kept after each epoch: states to go on from, on the local disk first, then in MLflow."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch

from agedetect.errors import RunError
from agedetect.evaluation.metrics import Metrics

Part = Literal["head", "all"]
CHECKPOINTS = "checkpoint"  # the folder, of the run's folder and of its artifacts
BEST, _STATES = "best.pt", ("even.pt", "odd.pt")


@dataclass(frozen=True)
class Epoch:
    """What one epoch did. `metrics` are the validation faces'; the losses are means over images.

    `time_ms` is when it ended, since 1970: a point that is logged again, after a kill, is then the same point.
    """

    number: int
    part: Part
    train_loss: float
    validation_loss: float
    metrics: Metrics
    learning_rate: float
    images_per_second: float
    time_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000, compare=False)

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
    """A snapshot and the epochs that led to it, as one file of tensors and plain values.

    `best_digest` is the SHA-256 of the file with the best epoch's weights that goes with it, where they are kept.
    """

    history: list[Epoch]
    snapshot: Snapshot
    best_digest: str = ""

    def save(self, path: Path) -> None:
        values = {"history": [epoch.to_dict() for epoch in self.history], "best_digest": self.best_digest}
        torch.save({**values, **vars(self.snapshot)}, path)

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        values = torch.load(path, "cpu", weights_only=True)
        history = [Epoch.from_dict(epoch) for epoch in values.pop("history")]
        digest = values.pop("best_digest", "")
        return cls(history, Snapshot(**values), digest)


def save_checkpoint(folder: Path, history: Sequence[Epoch], snapshot: Snapshot, *, keep_best: bool) -> list[Path]:
    """Into `folder`: the state, and with `keep_best` the weights if they are the best so far; what was written.

    States of even and odd epochs take turns, and each file is renamed into place, so that wherever the process is
    killed one state is whole and its best weights are there. Raises RunError where the disk is full.
    """
    best, state = folder / BEST, folder / _STATES[snapshot.epoch % 2]
    is_best = keep_best and min(history, key=lambda epoch: epoch.metrics.mae).number == snapshot.epoch
    new_best, new_state = best.with_suffix(".new"), state.with_suffix(".new")
    try:
        folder.mkdir(exist_ok=True)
        if is_best:
            torch.save(snapshot.evaluated, new_best)
        digest = _digest(new_best if is_best else best) if keep_best else ""
        Checkpoint(list(history), snapshot, digest).save(new_state)
        new_state.replace(state)
        if is_best:
            new_best.replace(best)
    except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError
        new_best.unlink(missing_ok=True)
        new_state.unlink(missing_ok=True)
        reason = error.strerror if isinstance(error, OSError) else str(error).partition("\n")[0]
        free = shutil.disk_usage(folder if folder.is_dir() else folder.parent).free // 2**20
        raise RunError(
            f"{folder}: the state after epoch {snapshot.epoch} can't be written: {reason}; {free} MB are free"
        ) from error
    return [state, *([best] if is_best else [])]


def last_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest state in `folder` that is whole and goes with the best weights there; None where there is none."""
    found = []
    for name in _STATES:
        try:
            found.append(Checkpoint.load(folder / name))
        except (OSError, RuntimeError, EOFError, UnpicklingError):
            continue  # never written, or cut off while it was: the other one is whole
    fitting = [state for state in found if not state.best_digest or state.best_digest == _digest(folder / BEST)]
    return max(fitting, key=lambda state: state.snapshot.epoch, default=None)


def kept_weights(folder: Path, history: Sequence[Epoch], *, keep_best: bool) -> dict[str, Any]:
    """Of the epoch with the lowest validation MAE, or else of the last one. Raises RunError where those are lost."""
    last = last_checkpoint(folder)
    if last is None or last.snapshot.epoch != history[-1].number:
        raise RunError(f"{folder}: the state after epoch {history[-1].number} can't be read back")
    if not keep_best:
        return last.snapshot.evaluated
    state: dict[str, Any] = torch.load(folder / BEST, "cpu", weights_only=True)
    return state


def _digest(path: Path) -> str:
    """Empty where there is no file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
