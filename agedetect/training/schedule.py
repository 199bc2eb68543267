"""The learning rate over the steps of a phase."""

from __future__ import annotations

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from agedetect.config import PLATEAU_EPOCHS, PLATEAU_THRESHOLD, TrainConfig
from agedetect.training.phases import Phase

PLATEAU_FACTOR = 0.3


class LearningRateSchedule:
    """The rates of one phase. Call `before_step` with the phase's step, from 0, and `after_epoch` with the MAE.

    The last phase follows `config.schedule`: "cosine" decays to zero over its steps (Loshchilov & Hutter, ICLR 2017),
    "plateau" lowers the rate after PLATEAU_EPOCHS that gain too little. A head phase before the fine-tuning phase keeps
    its rate: it is short, and the head is trained on. The fine-tuning phase may begin with a linear warm-up.
    """

    def __init__(self, optimizer: Optimizer, phase: Phase, config: TrainConfig, steps_per_epoch: int) -> None:
        scheduled = phase.last == config.epochs
        self.steps = (phase.last - phase.first + 1) * steps_per_epoch
        self.warmup = min(int(config.warmup_epochs) * steps_per_epoch, self.steps) if phase.part == "all" else 0
        self.cosine = scheduled and config.schedule == "cosine"
        self.waits = scheduled and config.schedule == "plateau"
        self.optimizer = optimizer
        self.highest = phase.learning_rate
        self.plateau = ReduceLROnPlateau(
            optimizer,
            factor=PLATEAU_FACTOR,
            patience=PLATEAU_EPOCHS - 1,  # torch's is the number of bad epochs that it lets pass
            threshold=PLATEAU_THRESHOLD,
            threshold_mode="rel",
        )
        self.step = 0

    @property
    def current(self) -> float:
        """The rate now."""
        rate: float = self.optimizer.param_groups[0]["lr"]
        return rate

    def before_step(self, step: int) -> None:
        self.step = step
        if step < self.warmup:
            self._scale((step + 1) / self.warmup)
        elif self.cosine:
            done = (step - self.warmup) / max(1, self.steps - self.warmup)
            self._scale(0.5 * (1 + math.cos(math.pi * done)))

    def after_epoch(self, mae: float) -> None:
        if self.waits and self.step + 1 >= self.warmup:
            self.plateau.step(mae)

    def _scale(self, factor: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.highest * factor

    def state_dict(self) -> dict[str, Any]:
        return self.plateau.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.plateau.load_state_dict(state)
