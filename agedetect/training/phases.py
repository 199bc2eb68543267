"""The two phases as data."""

from __future__ import annotations

from dataclasses import dataclass

from agedetect.config import TrainConfig
from agedetect.tracking.checkpoints import Part


@dataclass(frozen=True)
class Phase:
    """Epochs `first` to `last`, counted from 1 over the whole run, in which `part` of the model trains.

    The head phase (linear probing) trains the head on a frozen backbone, the fine-tuning phase all of it.
    """

    part: Part
    first: int
    last: int
    learning_rate: float


def plan(config: TrainConfig) -> tuple[Phase, ...]:
    """The phases of a config in which nothing is 'auto' any more."""
    epochs = int(config.head_epochs)
    head = Phase("head", 1, epochs, config.learning_rate)
    full = Phase("all", epochs + 1, config.epochs, float(config.finetune_learning_rate))
    return tuple(phase for phase in (head, full) if phase.first <= phase.last)
