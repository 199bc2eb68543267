"""A tiny age network, images for it, and what is known of it once it is logged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from agedetect.models.conformal import ConformalLayer, DifficultyLayer, QuantileLayer
from agedetect.models.inference import CalibratedModel
from agedetect.models.model import build_model
from agedetect_runtime import ModelSpec
from agedetect_runtime.spec import MAX_AGE, MIN_AGE

SIZE = 32
SPEC = ModelSpec(
    image_size=SIZE,
    resampling="bilinear",
    backbone="tiny",
    min_age=0,
    max_age=116,
    provenance={"split_fingerprint": "f" * 8},
)


class TinyAges(torch.nn.Module):
    """Normalise, one convolution, average, years. The keywords plant the mistakes that parity must find."""

    def __init__(self, *, swapped: bool = False, mean: float = 0.45, constant: bool = False) -> None:
        super().__init__()
        self.order, self.mean, self.constant = ([2, 1, 0] if swapped else [0, 1, 2]), mean, constant
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.features = torch.nn.Conv2d(3, 8, 3, stride=2)
            self.head = torch.nn.Linear(8, 1)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """(B, S, S, 3) uint8 -> (B,) float32 years."""
        channels = faces.permute(0, 3, 1, 2)[:, self.order].float()
        features = torch.relu(self.features((channels / 255 - self.mean) / 0.25)).mean((2, 3))
        years: torch.Tensor = self.head(features).squeeze(1) * (0.0 if self.constant else 60.0) + 40.0
        return years.clamp(0.0, 116.0)


class BatchAges(TinyAges):
    """Its answer depends on the other faces of the batch, as batch norm in training mode does."""

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        years = super().forward(faces)
        return years + 0.1 * (years - years.mean())


class IntervalAges(TinyAges):
    """Age, low and high."""

    def forward(self, faces: torch.Tensor) -> tuple[torch.Tensor, ...]:  # type: ignore[override]
        years = super().forward(faces)
        return years, years - 5, years + 8


def draw_images(folder: Path, count: int, *, seed: int = 5) -> list[Path]:
    """Noisy 48x48 PNGs, each of its own colour and contrast, so that ages and resamplings differ."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, pixels in enumerate(draw_pixels(count, 48, seed=seed)):
        paths.append(folder / f"{index:02}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def draw_pixels(count: int, size: int, *, seed: int = 5) -> NDArray[np.uint8]:
    """(count, size, size, 3), each of its own colour and contrast."""
    random = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        tint, contrast = random.uniform(20, 235, 3), random.uniform(5, 60)
        pictures.append(np.clip(random.normal(tint, contrast, (size, size, 3)), 0, 255).astype(np.uint8))
    return np.stack(pictures)


@dataclass(frozen=True)
class Store:
    """An MLflow store at `uri` with one model in it, and its run's validation images."""

    uri: str
    root: Path
    run_id: str
    model_uri: str
    validation: list[Path]


class MobileAges(torch.nn.Module):
    """What MobileNetV2 is made of, once each, behind the normalisation that the trainer's models have.

    Channels differ in size by a hundred, as trained ones do. With `mirrored` it averages over the mirror image.
    """

    def __init__(self, *, mirrored: bool = False) -> None:
        super().__init__()
        self.mirrored = mirrored
        self.mean = torch.nn.Buffer(torch.tensor([123.7, 116.3, 103.5]).view(1, 3, 1, 1))
        self.std = torch.nn.Buffer(torch.tensor([58.4, 57.1, 57.4]).view(1, 3, 1, 1))
        with torch.random.fork_rng():
            torch.manual_seed(4)
            self.stem = _block(3, 8, kernel=3, stride=2)
            self.depthwise = _block(8, 8, kernel=3, groups=8)
            self.project = _block(8, 6, active=False)
            self.expand = _block(6, 12)
            self.shrink = _block(12, 6, active=False)
            self.last = _block(6, 16)
            self.hidden = torch.nn.Linear(16, 8)
            self.head = torch.nn.Linear(8, 1)
        self.eval()

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """(B, S, S, 3) uint8 -> (B,) float32 years."""
        answer = self.years(faces)
        return (answer + self.years(faces.flip(2))) / 2 if self.mirrored else answer

    def years(self, faces: torch.Tensor) -> torch.Tensor:
        narrow = self.project(self.depthwise(self.stem((faces.permute(0, 3, 1, 2).float() - self.mean) / self.std)))
        features = self.last(narrow + self.shrink(self.expand(narrow)))
        pooled = torch.nn.functional.adaptive_avg_pool2d(features, 1).flatten(1)
        years: torch.Tensor = self.head(torch.relu(self.hidden(pooled))).squeeze(1) * 1200 + 140
        return years.clamp(0.0, 116.0)


def _block(inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, groups: int = 1, active: bool = True) -> Any:
    norm = torch.nn.BatchNorm2d(outputs)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.no_grad():
        norm.running_mean.uniform_(-0.2, 0.2)
        norm.running_var.uniform_(0.5, 1.5)
        norm.weight.copy_(torch.logspace(-1.6, 0.7, outputs)[torch.randperm(outputs)])
        norm.bias.uniform_(0, 0.2)
    conv = torch.nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return torch.nn.Sequential(conv, norm, torch.nn.ReLU6() if active else torch.nn.Identity())


class DistributionAges(TinyAges):
    """Age, low, high and the probabilities of the whole years 0 to 116: a bell about the age, ten years wide."""

    def __init__(self, *, shifted_bins: int = 0, crossed: bool = False) -> None:
        super().__init__()
        self.shifted_bins, self.crossed = shifted_bins, crossed

    def forward(self, faces: torch.Tensor) -> tuple[torch.Tensor, ...]:  # type: ignore[override]
        years = super().forward(faces)
        bins = torch.arange(117) + self.shifted_bins
        probabilities = torch.softmax(-0.5 * ((bins - years[:, None]) / 10) ** 2, dim=1)
        return years, years + 5 if self.crossed else years - 5, years + 8, probabilities


# Of timm, 0.4 million parameters: it converts in a tenth of the time that MobileNetV2 takes.
SMALL_BACKBONE = "timm/test_resnet"


def small_spec(run_id: str = "0" * 32, head: str = "distribution", backbone: str = SMALL_BACKBONE) -> ModelSpec:
    """Of `small_model`, as the trainer writes it."""
    return ModelSpec(
        image_size=SIZE,
        resampling="bilinear",
        backbone=backbone,
        min_age=MIN_AGE,
        max_age=MAX_AGE,
        coverage=0.9,
        head=head,
        card="# A small model\n\nFor tests.\n",
        provenance={
            "run_id": run_id,
            "split": {"protocol": "holdout", "seed": 0, "fold": 0},
            "split_fingerprint": "f" * 32,
            "test": {"images": 4, "mae": 12.5},
            "data_licence": "free",
        },
    )


def small_model(head: str = "distribution", backbone: str = SMALL_BACKBONE) -> CalibratedModel:
    """One of the trainer's networks, untrained, whose ages differ from face to face by years."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = build_model(backbone, "none", head=head, dropout=0.0, image_size=SIZE).train()
        for norm in (part for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d)):
            norm.momentum = None  # the mean over all batches: the features of an untrained network vanish without it
        with torch.no_grad():
            for seed in range(20):
                model(torch.from_numpy(draw_pixels(16, SIZE, seed=seed)))
            model.head.output.weight.mul_(40 if head == "regression" else 12)
    years = np.array([20.0, 60.0])
    conformal: ConformalLayer = DifficultyLayer(0.9, years, years / 4) if head == "regression" else QuantileLayer(0.9)
    return CalibratedModel(model, conformal).eval()
