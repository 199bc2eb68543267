"""The learning rate: of each layer, and over the steps of a phase."""

from __future__ import annotations

import math
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from agedetect.config import TrainConfig
from agedetect.model import AgeModel
from agedetect.phases import Phase

PLATEAU_FACTOR = 0.3


def parameter_groups(model: AgeModel, rate: float, layer_decay: float) -> list[dict[str, Any]]:
    """Groups for an optimizer: the head at `rate`, each stage of the backbone at `layer_decay` of the one above it.

    Clark et al., "ELECTRA", ICLR 2020, section 3.1. A stage is a child of the backbone, or of its `features`.
    """
    if layer_decay == 1:
        return [{"params": list(model.parameters()), "lr": rate}]
    parts = [*_stages(model.backbone), model.head]
    rates = [rate * layer_decay ** (len(parts) - 1 - depth) for depth in range(len(parts))]
    return [{"params": list(part.parameters()), "lr": rate} for part, rate in zip(parts, rates, strict=True)]


def _stages(backbone: nn.Module) -> list[nn.Module]:
    """From the lowest to the highest; activations and poolings, which have no weights, are none."""
    children = getattr(backbone, "features", backbone).children()
    return [child for child in children if any(True for _ in child.parameters())]


class Rates:
    """The rates of one phase. Call `before_step` with the phase's step, from 0, and `after_epoch` with the MAE.

    The full phase begins with a linear warm-up; then "cosine" falls to zero over its steps (Loshchilov & Hutter,
    ICLR 2017), and "plateau" falls where the validation MAE no longer does, as the head phase always does.
    """

    def __init__(self, optimizer: Optimizer, phase: Phase, config: TrainConfig, steps_per_epoch: int) -> None:
        full = phase.part == "all"
        self.optimizer = optimizer
        self.steps = (phase.last - phase.first + 1) * steps_per_epoch
        self.warmup = min(config.warmup_epochs * steps_per_epoch, self.steps) if full else 0
        self.cosine = full and config.schedule == "cosine"
        self.highest = [group["lr"] for group in optimizer.param_groups]
        self.plateau = ReduceLROnPlateau(optimizer, patience=config.plateau_epochs, factor=PLATEAU_FACTOR)
        self.step = 0

    @property
    def shown(self) -> float:
        """The head's rate now."""
        rate: float = self.optimizer.param_groups[-1]["lr"]
        return rate

    def before_step(self, step: int) -> None:
        self.step = step
        if step < self.warmup:
            self._scale((step + 1) / self.warmup)
        elif self.cosine:
            done = (step - self.warmup) / max(1, self.steps - self.warmup)
            self._scale(0.5 * (1 + math.cos(math.pi * done)))

    def after_epoch(self, mae: float) -> None:
        if not self.cosine and self.step + 1 >= self.warmup:
            self.plateau.step(mae)

    def _scale(self, factor: float) -> None:
        for group, highest in zip(self.optimizer.param_groups, self.highest, strict=True):
            group["lr"] = highest * factor

    def state_dict(self) -> dict[str, Any]:
        return self.plateau.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.plateau.load_state_dict(state)
