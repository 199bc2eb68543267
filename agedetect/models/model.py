"""AgeModel: uint8 faces in, a head's outputs out. Scaling and normalisation live here and nowhere else."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agedetect.models.backbones import Backbone, build_backbone
from agedetect.models.heads import HEADS, DistributionHead, RegressionHead
from agedetect.models.timm_backbones import Arguments


class AgeModel(nn.Module):
    """faces, uint8 (B, S, S, 3), RGB -> the head's outputs, float32 (B, C); `age` makes years of them.

    With `flip_tta`, the outputs in evaluation mode are the mean over the face and its mirror image.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, head: RegressionHead | DistributionHead, *, flip_tta: bool = False) -> None:
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(backbone.mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(backbone.std).view(1, 3, 1, 1))
        self.resampling = backbone.resampling
        self.architecture, self.arguments = backbone.architecture, backbone.arguments
        self.flip_tta = flip_tta
        self.backbone = backbone.module
        self.head = head

    def forward(self, faces: Tensor) -> Tensor:
        if self.flip_tta and not self.training:
            return self.head.average(self._outputs(faces), self._outputs(faces.flip(2)))
        return self._outputs(faces)

    def _outputs(self, faces: Tensor) -> Tensor:
        features = self.features(faces)
        with torch.autocast(faces.device.type, enabled=False):  # bfloat16 near 60 years has steps of half a year
            outputs: Tensor = self.head(features.float())
        return outputs

    def features(self, faces: Tensor) -> Tensor:
        """(B, S, S, 3) uint8 -> (B, F)."""
        images = (faces.permute(0, 3, 1, 2).float() - self.mean) / self.std
        features: Tensor = self.backbone(images)
        return features

    def age(self, outputs: Tensor) -> Tensor:
        """(B, C) -> (B,), years, within the age range."""
        return self.head.age(outputs)

    def probabilities(self, outputs: Tensor) -> Tensor | None:
        """(B, C) -> (B, K), or None for a head without a distribution."""
        return self.head.probabilities(outputs)


def build_model(
    name: str,
    weights: str,
    *,
    head: str = "distribution",
    dropout: float = 0.1,
    mean_age: float = 30.0,
    flip_tta: bool = False,
    image_size: int = 224,
    arguments: Arguments | None = None,
) -> AgeModel:
    """A new AgeModel; the arguments are also those of `build_backbone`, which says what is raised."""
    backbone = build_backbone(name, weights, image_size=image_size, arguments=arguments)
    return AgeModel(backbone, HEADS[head](backbone.width, dropout=dropout, mean_age=mean_age), flip_tta=flip_tta)
