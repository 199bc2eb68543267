"""Backbones of torchvision and timm with their pretrained weights; a failure is an error, never random weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError

from torch import Tensor, nn
from torchvision import models

from agedetect.errors import WeightsError, explain
from agedetect.models import timm_backbones
from agedetect.models.timm_backbones import Arguments
from agedetect.models.weights import load_exactly, read_weights


@dataclass(frozen=True)
class Architecture:
    """A network of torchvision: its published weights, and the name of the classifier that the head replaces."""

    weights: models.WeightsEnum
    classifier: str

    @property
    def resampling(self) -> str:
        """The filter that the weights expect their images to be resized with."""
        return str(self.weights.transforms().interpolation.value)


ARCHITECTURES = {
    "resnet50": Architecture(models.ResNet50_Weights.IMAGENET1K_V2, "fc"),
    "resnet34": Architecture(models.ResNet34_Weights.IMAGENET1K_V1, "fc"),
    "efficientnet_b0": Architecture(models.EfficientNet_B0_Weights.IMAGENET1K_V1, "classifier"),
    "mobilenet_v2": Architecture(models.MobileNet_V2_Weights.IMAGENET1K_V2, "classifier"),
}


@dataclass(frozen=True)
class Backbone:
    """`module` maps normalised images, float (B, 3, S, S), to features, float (B, `width`).

    Normalised by `mean` and `std`, of each channel, after a resize with the filter `resampling`. `architecture` and
    `arguments` are what the same layers are built from without any weights.
    """

    module: nn.Module
    width: int
    resampling: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    architecture: str
    arguments: Arguments = field(default_factory=dict)


def build_backbone(name: str, weights: str, *, image_size: int = 224, arguments: Arguments | None = None) -> Backbone:
    """`weights` is 'imagenet', 'none' or a state dict file. Raises WeightsError where they can't be loaded.

    `name` is one of ARCHITECTURES, or timm/NAME, which may depend on `image_size` and, where it is built again,
    on its `arguments`.
    """
    if timm_backbones.is_timm(name):
        module, architecture, kept = timm_backbones.create(name, weights, image_size, arguments or {})
        preset = timm_backbones.preprocessing(module, name)
        return Backbone(module, timm_backbones.feature_width(module, name, image_size), *preset, architecture, kept)
    return _of_torchvision(name, weights)


def _of_torchvision(name: str, weights: str) -> Backbone:
    module: nn.Module = models.get_model(name, weights=None)
    architecture = ARCHITECTURES[name]
    classifier = module.get_submodule(architecture.classifier)
    linear = [part for part in classifier.modules() if isinstance(part, nn.Linear)][-1]
    setattr(module, architecture.classifier, nn.Identity())
    if weights != "none":
        state = _downloaded(name) if weights == "imagenet" else read_weights(Path(weights))
        load_exactly(module, state, architecture.classifier, weights)
    preset = architecture.weights.transforms()
    mean, std = tuple(preset.mean), tuple(preset.std)
    return Backbone(module, linear.in_features, architecture.resampling, mean, std, name)


def _downloaded(name: str) -> dict[str, Tensor]:
    source = ARCHITECTURES[name].weights
    try:
        state: dict[str, Tensor] = source.get_state_dict(
            progress=False, check_hash=True, weights_only=True, map_location="cpu"
        )
    except (OSError, RuntimeError, UnpicklingError) as error:  # no network; another hash; a damaged or unsafe cache
        raise explain(error) or WeightsError(
            f"{name}: the ImageNet weights could not be downloaded or read ({error}); fetch {source.url} elsewhere and "
            "give the file with --weights FILE, or say --weights none to start from random ones"
        ) from error
    return state
