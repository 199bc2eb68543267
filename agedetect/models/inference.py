"""AgeProgram: what is registered and exported, from faces to everything a model answers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agedetect.models.conformal import Interval
from agedetect.models.model import AgeModel


class AgeProgram(nn.Module):
    """faces, uint8 (B, S, S, 3), RGB -> float32 (B, C): age, low, high in years, then the K probabilities, if any.

    One tensor, since MLflow's generic loader takes no tuple; the exporter gives its columns their names.
    """

    def __init__(self, model: AgeModel, interval: Interval) -> None:
        super().__init__()
        self.model, self.interval = model, interval

    def forward(self, faces: Tensor) -> Tensor:
        return self.answers(self.model(faces))

    def answers(self, outputs: Tensor) -> Tensor:
        """The head's outputs, (B, C') -> (B, C)."""
        age, probabilities = self.model.age(outputs), self.model.probabilities(outputs)
        low, high = self.interval(age, probabilities)
        years = torch.stack([age, low, high], dim=1)
        return years if probabilities is None else torch.cat([years, probabilities], dim=1)
