"""What each part of the training recipe brings: one change at a time, same faces, same split, same seed.

    python -m benchmarks.recipes train half.csv --weights FILE     # a run and a registered model for each recipe
    python -m benchmarks.recipes compare half.csv                  # the table, on the validation faces

`half.csv` is what `python -m benchmarks.recipes halve UTKFace_data half.csv` writes: every
second file by its name, but none of the test side of the default split: recipes are chosen without those.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import click
import numpy as np

from agedetect import load_model
from agedetect.data.faces import read_faces
from agedetect.data.splits import split_faces
from agedetect.evaluation.bootstrap import mean_estimate
from agedetect.evaluation.comparison import compare_predictions
from agedetect.evaluation.predictions import Predictions
from agedetect.evaluation.subset import choose_faces

BUDGET = "--image-size 64 --epochs 9 --head-epochs 1 --protocol folds5 --fold 0"
PLAIN = (
    "--head regression --augment flip --schedule plateau --warmup-epochs 0 --ema-decay 0 --finetune-learning-rate 3e-4"
)
BASE = "--augment flip,crop --loss dldl_v2 --schedule cosine --warmup-epochs 1"
FORMER = (
    "--augment flip,crop --loss soft_labels --schedule plateau --warmup-epochs 1"  # the defaults of an earlier version
)
RECIPES = {
    "base": BASE,
    "seed recipe": PLAIN,
    "MSE": f"{BASE} --head regression --loss mse",
    "L1": f"{BASE} --head regression --loss l1",
    "Focal MSE": f"{BASE} --head regression --loss mse --use-focal-loss",
    "cross-entropy": f"{BASE} --loss cross_entropy",
    "soft labels": f"{BASE} --loss soft_labels",
    "no averaged weights": f"{BASE} --ema-decay 0",
    "plateau": f"{BASE} --schedule plateau",
    "no warm-up": f"{BASE} --warmup-epochs 0",
    "rate 1e-3": f"{BASE} --finetune-learning-rate 1e-3",
    "rate 2.5e-4": f"{BASE} --finetune-learning-rate 2.5e-4",
    "no augmentation": f"{BASE} --augment none",
    "flips only": f"{BASE} --augment flip",
    "affine": f"{BASE} --augment flip,affine",
    "colour": f"{BASE} --augment flip,crop,colour",
    "erasing": f"{BASE} --augment flip,crop,erase",
    "all augmentation": f"{BASE} --augment flip,crop,affine,colour,erase",
    "batches of 16": f"{BASE} --batch-size 16",
    "batches of 64": f"{BASE} --batch-size 64",
    "17 epochs": f"{BASE} --epochs 17",
    "96 px": f"{BASE} --image-size 96",
    "128 px": f"{BASE} --image-size 128",
    "base, seed 1": f"{BASE} --seed 1",
    "no warm-up, seed 1": f"{BASE} --seed 1 --warmup-epochs 0",
    "flips only, seed 1": f"{BASE} --seed 1 --augment flip",
    "soft labels, plateau": FORMER,
    "soft labels, plateau, no averaged weights": f"{FORMER} --ema-decay 0",
    "soft labels, plateau, no warm-up": f"{FORMER} --warmup-epochs 0",
}


@click.group()
def main() -> None:
    """Train the recipes, and compare them."""


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
def halve(folder: Path, output: Path) -> None:
    """Write a manifest of every second face in FOLDER, by name, without those that the default split tests on."""
    splits = split_faces(read_faces(folder).faces)
    faces = sorted((*splits.train, *splits.validation), key=lambda face: face.path)[::2]
    with output.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "age", "gender", "race"])
        rows.writerows([face.path, f"{face.age:g}", face.gender, face.race] for face in faces)


@main.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--weights", required=True, help="State dict file of MobileNetV2.")
@click.option("--only", multiple=True, type=click.Choice(list(RECIPES)), help="These recipes instead of all.")
def train(data: Path, weights: str, only: tuple[str, ...]) -> None:
    """A run for each recipe, registered under the recipe's name."""
    for name in only or RECIPES:
        given = ["--data-dir", str(data), "--model-name", "mobilenet_v2", "--weights", weights]
        command = [sys.executable, "-m", "agedetect", "train", *given, "--registered-model-name", registered(name)]
        subprocess.run([*command, *BUDGET.split(), *RECIPES[name].split()], check=True)


@main.command("compare")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--only", multiple=True, type=click.Choice(list(RECIPES)), help="These recipes instead of all.")
@click.option("--against", type=click.Choice(list(RECIPES)), default="base", help="What they are compared with.")
def compare_command(data: Path, only: tuple[str, ...], against: str) -> None:
    """The validation MAE of each recipe, and its paired difference from the base's, with 95% intervals."""
    face_set = read_faces(data)

    def predictions(name: str, flip_tta: bool = False) -> Predictions:
        model = load_model(f"models:/{registered(name)}@candidate")
        return model.predict(choose_faces(face_set, model.spec, "validation").faces, flip_tta=flip_tta)

    base = predictions(against)
    click.echo(f"| recipe | flags | validation MAE (n={len(base.faces):,}) | against {against} |\n|---|---|---|---|")
    for name in only or RECIPES:
        echo_row(name, RECIPES[name], predictions(name), base)
    echo_row("test-time flip", f"{RECIPES[against]} --flip-tta", predictions(against, flip_tta=True), base)


def echo_row(name: str, flags: str, found: Predictions, base: Predictions) -> None:
    mae = mean_estimate(np.abs(found.error))
    gain = compare_predictions(base, found).overall.advantage  # its MAE minus the base's
    click.echo(
        f"| {name} | `{flags}` | {mae.value:.2f} ({mae.low:.2f} to {mae.high:.2f}) "
        f"| {gain.value:+.2f} ({gain.low:+.2f} to {gain.high:+.2f}) |"
    )


def registered(name: str) -> str:
    return f"recipe-{name.lower().replace(' ', '-').replace(',', '')}"


if __name__ == "__main__":
    main()
