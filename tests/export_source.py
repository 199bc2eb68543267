"""A tiny age network, images for it, and what is known of it once it is logged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from agedetect_runtime import ModelSpec

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
        years = self.head(features).squeeze(1) * (0.0 if self.constant else 60.0) + 40.0
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
    random = np.random.default_rng(seed)
    paths = []
    for index in range(count):
        tint, contrast = random.uniform(20, 235, 3), random.uniform(5, 60)
        pixels = np.clip(random.normal(tint, contrast, (48, 48, 3)), 0, 255).astype(np.uint8)
        paths.append(folder / f"{index:02}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


@dataclass(frozen=True)
class Store:
    """An MLflow store at `uri` with one model in it, and its run's validation images."""

    uri: str
    root: Path
    run_id: str
    model_uri: str
    validation: list[Path]
