"""Backbones of timm, under the name timm/NAME: whatever `timm.create_model` takes, with its own preprocessing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from agedetect.errors import ConfigError, WeightsError, explain
from agedetect.models.weights import load_exactly, read_weights
from agedetect_runtime.spec import RESAMPLINGS

PREFIX = "timm/"
Arguments = Mapping[str, str | int]

# Data sets and losses of face recognition, as published configurations name them.
_FACE_RECOGNITION = re.compile(
    "vggface|ms1m|ms-?celeb|webface|glint|casia|arcface|cosface|sphereface|adaface|magface|curricularface|facenet", re.I
)

# What the configuration of published weights may set beside the name: none of these can name a file or an address.
_ARGUMENTS: dict[str, type] = {"pad_type": str, "img_size": int}
_ARCHITECTURE = re.compile(r"timm/[a-z0-9_]{1,80}")


def is_timm(name: str) -> bool:
    return name.startswith(PREFIX)


def face_recognition_word(name: str) -> str | None:
    """The word by which the published configuration of timm/NAME says that its weights were trained on faces.

    Builds the network without memory for its weights. Raises WeightsError where timm doesn't know the name.
    """
    source = name.removeprefix(PREFIX)
    return word_of_faces(_create(name, source, pretrained=False, device="meta").pretrained_cfg)


def word_of_faces(published: Mapping[str, Any]) -> str | None:
    """From the configuration's tag, architecture, address and licence; the folder it lies in says nothing."""
    texts = [str(published.get(key) or "") for key in ("tag", "architecture", "hf_hub_id", "license")]
    found = _FACE_RECOGNITION.search(" ".join(texts))
    return found.group().lower() if found else None


def check_architecture(name: str, arguments: Arguments) -> None:
    """Raises ConfigError for what isn't an architecture that timm itself defines, with arguments of ours."""
    if not _ARCHITECTURE.fullmatch(name) or not _timm().is_model(name.removeprefix(PREFIX)):
        raise ConfigError(f"{name[:80]!r} is no architecture of this timm")
    for key, value in arguments.items():
        if type(value) is not _ARGUMENTS.get(key):
            raise ConfigError(f"argument {str(key)[:80]!r} of {name} is not supported")


def create(
    name: str, weights: str, image_size: int, arguments: Arguments
) -> tuple[nn.Module, str, dict[str, str | int]]:
    """The network without its classifier, its architecture as timm/NAME, and the arguments to build that with.

    `weights` is 'imagenet' for the published ones, 'none' or a state dict file. A network of a fixed size is built for
    `image_size` where its family can be. Raises WeightsError where the weights can't be loaded, ConfigError for a
    network that this size or our exporter doesn't fit.
    """
    source = name.removeprefix(PREFIX)
    skeleton = _create(name, source, pretrained=False, device="meta", **arguments)
    wanted = skeleton.pretrained_cfg["input_size"][1]
    if skeleton.pretrained_cfg.get("fixed_input_size") and image_size != wanted:
        arguments = {**arguments, "img_size": image_size}
    module = _create(name, source, pretrained=weights == "imagenet", **arguments)
    if weights not in ("imagenet", "none"):
        load_exactly(module, read_weights(Path(weights)), "classifier", weights)
    architecture = f"{PREFIX}{module.pretrained_cfg['architecture']}"
    kept = {key: value for key, value in module._model_args.items() if key not in ("num_classes", "pretrained")}
    check_architecture(architecture, kept)
    return module, architecture, kept


def preprocessing(module: nn.Module, name: str) -> tuple[str, tuple[float, ...], tuple[float, ...]]:
    """Pillow's filter, and the mean and standard deviation of each channel, that its weights expect."""
    found = _timm().data.resolve_model_data_config(module)
    if found["interpolation"] not in RESAMPLINGS:
        raise ConfigError(f"{name}: its filter {found['interpolation']} is none of {', '.join(RESAMPLINGS)}")
    return found["interpolation"], tuple(found["mean"]), tuple(found["std"])


@torch.no_grad()
def feature_width(module: nn.Module, name: str, image_size: int) -> int:
    """The length of its feature vector. Raises ConfigError where it gives anything else, or not at this size."""
    training, device = module.training, next(module.parameters()).device
    try:
        shape = module.eval()(torch.zeros(1, 3, image_size, image_size, device=device)).shape
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{name}: it does not take images of {image_size} px: {reason}") from error
    finally:
        module.train(training)
    if len(shape) != 2:
        raise ConfigError(f"{name}: it gives features of shape {tuple(shape)}, not one vector for an image")
    return int(shape[1])


def _create(name: str, source: str, **arguments: Any) -> Any:
    try:
        return _timm().create_model(source, num_classes=0, **arguments)
    except TypeError as error:
        given = ", ".join(f"{key}={value}" for key, value in arguments.items() if key in _ARGUMENTS)
        raise ConfigError(f"{name}: this network does not take {given}; give the --image-size that it has") from error
    except Exception as error:  # timm and huggingface_hub raise a dozen types: no network, no such name, a bad file
        reason = " ".join(str(error).split())[:120]
        raise explain(error) or WeightsError(
            f"{name}: timm could not create or load it ({type(error).__name__}: {reason}); give timm/local-dir:FOLDER, "
            "a folder with config.json and model.safetensors, or --weights none to start from random ones"
        ) from error


def _timm() -> ModuleType:
    """Imported where it is used: it takes seconds."""
    import timm

    module: ModuleType = timm
    return module
