"""Whether a model's own distribution tells that a picture shows no face, beside what the detector says.

    python -m benchmarks.no_face model.onnx FACES        # real ones, like training's; --others OTHER_FACES

Pictures without a face are drawn here. A picture counts as flagged where its interval is wider, or its distribution's
entropy is higher, than that of all but 1% of the faces.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from agedetect.evaluation.bootstrap import wilson
from agedetect_runtime import AgeEstimator
from agedetect_runtime.listing import walk_images

SIDE, EACH, FACES, FALSE_ALARMS = 200, 100, 1000, 0.01


def plain(rng: Generator) -> Image.Image:
    level = int(rng.choice([0, 0, 255, int(rng.integers(256))]))
    return Image.new("RGB", (SIDE, SIDE), (level, level, level))


def noise(rng: Generator) -> Image.Image:
    cells = int(rng.choice([4, 20, SIDE]))
    small = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8))
    return small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def text(rng: Generator) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), (250, 250, 245))
    size = int(rng.integers(9, 30))
    letters = "etaoinshrdlu   "
    for top in range(5, SIDE, round(1.4 * size)):
        line = "".join(rng.choice(list(letters), 40))
        ImageDraw.Draw(image).text((5, top), line, fill=(20, 20, 30), font=ImageFont.load_default(size))
    return image


def landscape(rng: Generator) -> Image.Image:
    """A sky, hills in front of each other, a sun."""
    rows = np.linspace(0, 1, SIDE)[:, None, None]
    top, low = rng.uniform((40, 90, 150), (140, 190, 255)), rng.uniform((180, 180, 160), (255, 240, 230))
    image = Image.fromarray(np.broadcast_to(top + rows * (low - top), (SIDE, SIDE, 3)).astype(np.uint8))
    draw, x = ImageDraw.Draw(image), np.arange(SIDE)
    sun, radius = rng.uniform(20, 90, 2), rng.uniform(6, 20)
    draw.ellipse((*(sun - radius), *(sun + radius)), fill=(255, 240, 190))
    for layer in range(3):
        waves = sum(rng.uniform(4, 16) * np.sin(x / rng.uniform(8, 40) + rng.uniform(0, 6)) for _ in range(3))
        ridge = 80 + 35 * layer + np.asarray(waves)
        colour = tuple(int(value) for value in rng.uniform((20, 60, 20), (110, 140, 90)))
        draw.polygon([(0, SIDE), *zip(x.tolist(), ridge.tolist(), strict=True), (SIDE, SIDE)], fill=colour)
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 2)))


def animal(rng: Generator) -> Image.Image:
    """A cat's or a bear's head: two eyes, a muzzle, ears, fur."""
    ground = tuple(int(value) for value in rng.uniform(60, 230, 3))
    fur = tuple(int(value) for value in rng.uniform((60, 40, 20), (220, 190, 160)))
    image = Image.new("RGB", (SIDE, SIDE), ground)
    draw = ImageDraw.Draw(image)
    for side in (-1, 1):
        ear = 100 + side * 55
        if rng.random() < 0.5:
            draw.polygon([(ear - 25, 70), (ear + side * 15, 10), (ear + 25, 70)], fill=fur)
        else:
            draw.ellipse((ear - 25, 20, ear + 25, 70), fill=fur)
    draw.ellipse((30, 35, 170, 185), fill=fur)
    draw.ellipse((65, 105, 135, 170), fill=tuple(min(255, value + 40) for value in fur))
    for side in (-1, 1):
        eye = 100 + side * 32
        draw.ellipse((eye - 13, 75, eye + 13, 101), fill=(210, 200, 90))
        draw.ellipse((eye - 4, 76, eye + 4, 100), fill=(10, 10, 10))
    draw.polygon([(88, 118), (112, 118), (100, 132)], fill=(40, 25, 25))
    pixels = np.asarray(image, np.float64) + rng.normal(0, 14, (SIDE, SIDE, 1))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.8))


KINDS: dict[str, Callable[[Generator], Image.Image]] = {
    "black, white, grey": plain,
    "noise": noise,
    "text": text,
    "landscapes": landscape,
    "animals": animal,
}

Scores = NDArray[np.float64]  # (N, 2): the interval's width, the distribution's entropy


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.argument("faces", type=click.Path(path_type=Path, exists=True))
@click.option("--others", type=click.Path(path_type=Path, exists=True), help="Faces of other people's pictures.")
@click.option("--detector", type=click.Path(path_type=Path), help="A YuNet file; ours, if not given.")
def main(model: Path, faces: Path, others: Path | None, detector: Path | None) -> None:
    """Print a table: what is flagged of each kind, by the model and by the detector."""
    with AgeEstimator(model, detector=detector) as estimator:
        known, found_faces = measure(estimator, sample(faces))
        limits = np.quantile(known, 1 - FALSE_ALARMS, axis=0)
        click.echo(f"faces: n={FACES}, found by the detector {shown(found_faces, FACES)}")
        click.echo("| pictures | n | flagged by width | flagged by entropy | a face, says the detector |")
        click.echo("|---|---|---|---|---|")
        pictures = {name: [draw(np.random.default_rng(seed)) for seed in range(EACH)] for name, draw in KINDS.items()}
        for name, images in {**pictures, **({"other people's faces": sample(others)} if others else {})}.items():
            scores, found = measure(estimator, images)
            width, entropy = (shown(int(hits), len(images)) for hits in (scores > limits).sum(axis=0))
            click.echo(f"| {name} | {len(images)} | {width} | {entropy} | {shown(found, len(images))} |")


def sample(folder: Path) -> list[Image.Image]:
    paths = random.Random(0).sample(sorted(walk_images(str(folder))), FACES)
    return [Image.open(path).convert("RGB") for path in paths]


def measure(estimator: AgeEstimator, images: list[Image.Image]) -> tuple[Scores, int]:
    """The scores of each picture taken as a face, and in how many the detector finds one."""
    scores = []
    for image in images:
        estimate = estimator.predict(image, probabilities=True)
        shares = np.asarray(estimate.probabilities)
        width = np.ptp(np.array([estimate.low, estimate.high], float))
        scores.append((width, -(shares * np.log(shares + 1e-12)).sum()))
    found = sum(bool(finding.faces) for finding in estimator.find_many(images))
    return np.array(scores), found


def shown(hits: int, count: int) -> str:
    share = wilson(hits, count)
    return f"{share.value:.0%} ({share.low:.0%} to {share.high:.0%})"


if __name__ == "__main__":
    main()
