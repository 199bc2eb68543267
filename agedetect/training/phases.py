"""The two phases as data, and what is known and kept after each epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from agedetect.config import TrainConfig
from agedetect.evaluation.metrics import Metrics

Part = Literal["head", "all"]


@dataclass(frozen=True)
class Phase:
    """Epochs `first` to `last`, counted from 1 over the whole run, in which `part` of the model trains."""

    part: Part
    first: int
    last: int
    learning_rate: float


def plan(config: TrainConfig) -> tuple[Phase, ...]:
    head = Phase("head", 1, config.head_epochs, config.learning_rate)
    full = Phase("all", config.head_epochs + 1, config.epochs, config.finetune_learning_rate)
    return tuple(phase for phase in (head, full) if phase.first <= phase.last)


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

    The tensors are the living ones: save it before training goes on. `averaged` is the moving average of the
    weights, empty where there is none.
    """

    epoch: int
    model: dict[str, Any]
    averaged: dict[str, Any]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]

    @property
    def judged(self) -> dict[str, Any]:
        """The weights that the epoch's metrics are of."""
        inner = "module."  # AveragedModel's name for the model it holds
        return {
            name.removeprefix(inner): v for name, v in self.averaged.items() if name.startswith(inner)
        } or self.model


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
