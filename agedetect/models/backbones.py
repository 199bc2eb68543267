"""torchvision backbones with their pretrained weights; a failure is an error, never random weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models

from agedetect.errors import WeightsError


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

    Normalised by `mean` and `std`, of each channel, after a resize with the filter `resampling`.
    """

    module: nn.Module
    width: int
    resampling: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


def build_backbone(name: str, weights: str) -> Backbone:
    """`weights` is 'imagenet', 'none' or a state dict file. Raises WeightsError where they can't be loaded."""
    module: nn.Module = models.get_model(name, weights=None)
    architecture = ARCHITECTURES[name]
    classifier = module.get_submodule(architecture.classifier)
    linear = [part for part in classifier.modules() if isinstance(part, nn.Linear)][-1]
    setattr(module, architecture.classifier, nn.Identity())
    if weights != "none":
        state = _downloaded(name) if weights == "imagenet" else _from_file(Path(weights))
        _load_exactly(module, state, architecture.classifier, weights)
    preset = architecture.weights.transforms()
    mean, std = tuple(preset.mean), tuple(preset.std)
    return Backbone(module, linear.in_features, architecture.resampling, mean, std)


def _downloaded(name: str) -> dict[str, Tensor]:
    source = ARCHITECTURES[name].weights
    try:
        state: dict[str, Tensor] = source.get_state_dict(
            progress=False, check_hash=True, weights_only=True, map_location="cpu"
        )
    except (OSError, RuntimeError, UnpicklingError) as error:  # no network; another hash; a damaged or unsafe cache
        raise WeightsError(
            f"{name}: the ImageNet weights could not be downloaded or read ({error}); fetch {source.url} elsewhere and "
            "give the file with --weights FILE, or say --weights none to start from random ones"
        ) from error
    return state


def _from_file(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(f"{path.resolve()}: no such weights file; --weights takes imagenet, none or a file")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise a dozen types for a damaged or unsafe file
        raise WeightsError(f"{path}: is not a state dict that loads safely ({type(error).__name__})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path}: holds no state dict (names to tensors)")
    return state


def _load_exactly(module: nn.Module, state: dict[str, Tensor], classifier: str, source: str) -> None:
    """Every key is accounted for: the ImageNet classifier's are dropped, any other difference is an error."""
    state = {key: value for key, value in state.items() if not key.startswith(f"{classifier}.")}
    expected = module.state_dict()
    # Written by torch before 0.4.1, batch norm has no such counter; it plays no part with a fixed momentum.
    missing = sorted(k for k in expected.keys() - state.keys() if not k.endswith("num_batches_tracked"))
    unexpected = sorted(state.keys() - expected.keys())
    misshapen = sorted(k for k in expected.keys() & state.keys() if expected[k].shape != state[k].shape)
    problems = [
        f"{what} {', '.join(keys[:5])}{f' and {len(keys) - 5} more' if len(keys) > 5 else ''}"
        for what, keys in (
            ("lacks", missing),
            ("has unknown", unexpected),
            ("has other shapes for", misshapen),
        )
        if keys
    ]
    if problems:
        raise WeightsError(f"{source}: does not fit the backbone: {'; '.join(problems)}")
    module.load_state_dict(state, strict=False)
