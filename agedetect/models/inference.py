"""CalibratedModel: the network with its conformal layer, from faces to everything that a model predicts."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agedetect.models.conformal import ConformalLayer
from agedetect.models.model import AgeModel
from agedetect_runtime.session import Ages


class CalibratedModel(nn.Module):
    """faces, uint8 (B, S, S, 3), RGB -> age, low, high, float32 (B,), years; probabilities (B, K) if there are any."""

    def __init__(self, model: AgeModel, conformal: ConformalLayer) -> None:
        super().__init__()
        self.model, self.conformal = model, conformal

    def forward(self, faces: Tensor) -> tuple[Tensor, ...]:
        return self.read(self.model(faces))

    def read(self, outputs: Tensor) -> tuple[Tensor, ...]:
        """The head's outputs, (B, C) -> the same."""
        age, probabilities = self.model.age(outputs), self.model.probabilities(outputs)
        years = (age, *self.conformal(age, probabilities))
        return years if probabilities is None else (*years, probabilities)

    @torch.no_grad()
    def predict(self, faces: NDArray[np.uint8]) -> Ages:
        """(B, S, S, 3) -> arrays; the model must be in evaluation mode."""
        return Ages(*(output.numpy() for output in self(torch.from_numpy(faces))))
