"""`python -m benchmarks.shrinking MODEL FACES`: what decoding photos at a fraction of their pixels costs, in years.

It takes a trained model: one with random weights answers nearly the same age to everything.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from agedetect_runtime import AgeEstimator
from agedetect_runtime.images import load_face, open_rgb
from agedetect_runtime.listing import walk_images
from benchmarks.rates import table


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("faces", type=click.Path(path_type=str))
@click.option("--count", type=click.IntRange(min=1), default=40, help="Photos of each size.")
@click.option("--side", "sides", type=int, multiple=True, default=(1024, 1536, 2048, 3072), help="Pixels a side.")
def main(model: Path, faces: str, count: int, sides: Sequence[int]) -> None:
    """Make photos of FACES, enlarged and with noise, and compare ages from some of their pixels and from all."""
    estimator = AgeEstimator(model, device="cpu")
    paths = list(walk_images(faces))
    paths = paths[:: max(1, len(paths) // count)][:count]
    rows = [_row(estimator, paths, side) for side in sides]
    heading = [
        "photo, px",
        "levels, mean",
        "years, mean",
        "worst",
        "a quarter of the levels by one: years, mean",
        "worst",
    ]
    click.echo(table(heading, rows), nl=False)


def _row(estimator: AgeEstimator, paths: Sequence[str], side: int) -> list[str]:
    size, resampling = estimator.spec.image_size, estimator.spec.resampling
    levels, moved, nudged = [], [], []
    for seed, path in enumerate(paths):
        rng = np.random.default_rng(seed)
        photo = _photo(path, side, rng)
        whole, shrunk = load_face(open_rgb(photo), size, resampling), load_face(photo, size, resampling)
        ages = estimator.ages(np.stack([whole, shrunk, _nudge(whole, rng)])).age
        levels.append(np.abs(shrunk.astype(int) - whole.astype(int)).mean())
        moved.append(abs(ages[1] - ages[0]))
        nudged.append(abs(ages[2] - ages[0]))
    figures = (np.mean(levels), np.mean(moved), np.max(moved), np.mean(nudged), np.max(nudged))
    return [str(side), *(f"{figure:.2f}" for figure in figures)]


def _photo(path: str, side: int, rng: np.random.Generator) -> bytes:
    face = open_rgb(path).resize((side, side), Image.Resampling.BICUBIC)
    levels = np.asarray(face) + rng.normal(0, 6, (side, side, 1)).astype(np.float32)
    file = io.BytesIO()
    Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=92)
    return file.getvalue()


def _nudge(face: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A quarter of the levels one up or down, as another decoder's rounding does."""
    steps = rng.choice([-1, 1], face.shape) * (rng.random(face.shape) < 0.25)
    nudged: NDArray[np.uint8] = np.clip(face.astype(int) + steps, 0, 255).astype(np.uint8)
    return nudged


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.shrinking")
