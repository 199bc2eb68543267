"""AgeModel: uint8 faces in, years out. Scaling and normalisation live here and nowhere else."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agedetect.backbones import Backbone, build_backbone

MIN_AGE, MAX_AGE = 0.0, 116.0
HEAD_WIDTH = 512


class AgeModel(nn.Module):
    """faces, uint8 (B, S, S, 3), RGB -> age, float32 (B,), in years; within the age range outside of training."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, *, dropout: float, mean_age: float) -> None:
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(backbone.mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(backbone.std).view(1, 3, 1, 1))
        self.resampling = backbone.resampling
        self.backbone = backbone.module
        self.head = build_head(backbone.width, dropout=dropout, mean_age=mean_age)

    def forward(self, faces: Tensor) -> Tensor:
        features = self.features(faces)
        if not self.training:
            return self.age(features)
        with torch.autocast(faces.device.type, enabled=False):  # bfloat16 near 60 years has steps of half a year
            return self.age_unbounded(features.float())

    def features(self, faces: Tensor) -> Tensor:
        """(B, S, S, 3) uint8 -> (B, F)."""
        images = (faces.permute(0, 3, 1, 2).float() - self.mean) / self.std
        features: Tensor = self.backbone(images)
        return features

    def age(self, features: Tensor) -> Tensor:
        """(B, F) -> (B,) years, within the age range."""
        return self.age_unbounded(features).clamp(MIN_AGE, MAX_AGE)

    def age_unbounded(self, features: Tensor) -> Tensor:
        """(B, F) -> (B,) years, for training: a bound would stop the gradient there."""
        age: Tensor = self.head(features).squeeze(1)
        return age


def build_head(width: int, *, dropout: float, mean_age: float) -> nn.Sequential:
    """(B, width) -> (B, 1). Xavier uniform (Glorot & Bengio, 2010); the output starts at the mean training age."""
    output = nn.Linear(HEAD_WIDTH, 1)
    head = nn.Sequential(
        SharedDropout(dropout), nn.Linear(width, HEAD_WIDTH), nn.ReLU(), SharedDropout(dropout), output
    )
    for layer in head:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    nn.init.constant_(output.bias, mean_age)
    return head


class SharedDropout(nn.Dropout):
    """Dropout whose mask doesn't depend on how many processes share the batch.

    The mask is drawn for the whole batch from the CPU's generator, which every process seeds alike, and each of the
    `world` processes takes the rows it holds: rank, rank + world, ...
    """

    rank, world = 0, 1

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return input
        rows, width = input.shape
        kept = torch.rand(rows * self.world, width)[self.rank :: self.world] >= self.p
        return input * kept.to(input.device) / (1 - self.p)


def build_model(name: str, weights: str, *, dropout: float = 0.1, mean_age: float = 30.0) -> AgeModel:
    """A new AgeModel. Raises WeightsError where the weights asked for aren't had."""
    return AgeModel(build_backbone(name, weights), dropout=dropout, mean_age=mean_age)
