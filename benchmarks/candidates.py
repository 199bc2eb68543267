"""Changes of the recipe that aren't options: what each brings, with two seeds, before it may become one.

    python -m benchmarks.candidates half.csv timm/local-dir:FOLDER results.csv      # --only mixup --seed 0
    python -m benchmarks.candidates half.csv timm/local-dir:FOLDER heads.csv --head-only --seed 0 --seed 1 --seed 2
    python -m benchmarks.candidates half.csv timm/local-dir:FOLDER results.csv --table

`half.csv` is that of benchmarks.recipes: no test face of the default split is in it. The predictions for the
validation faces are kept beside `results.csv`, one file a run, so that rows are compared face by face.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from agedetect.config import TrainConfig
from agedetect.data.faces import Face, read_faces
from agedetect.data.splits import Splits, split_faces
from agedetect.evaluation.bootstrap import mean_estimate
from agedetect.models.heads import BINS, expectation
from agedetect.models.model import AgeModel, build_model
from agedetect.training import augment
from agedetect.training.distributed import keep_freed_memory, open_fabric, to_numpy
from agedetect.training.fit import Fit
from agedetect.training.progress import Progress
from benchmarks.candidate_recipes import (
    YEARS,
    Candidate,
    DecayEverywhere,
    FrozenStages,
    Mixup,
    SmallFirst,
    averaged_duplicates,
    cross_fitted,
    joined,
    plain_targets,
    randaugment,
    uncut_targets,
    with_drop_path,
)

SIZE, EPOCHS, HEAD_EPOCHS, RATE = 112, 4, 2, 8e-5
HEAD_ONLY_SIZE, HEAD_ONLY_EPOCHS, MOST_SEEDS = 160, 10, 10

CANDIDATES = (
    "base",
    "rate of 2.5e-4",
    "distilled",
    "cross-fitted labels",
    "labels not cut off",
    "decay everywhere",
    "mixup",
    "frozen stages",
    "smaller pictures first",
    "batches of 64",
    "RandAugment",
    "drop path",
    "duplicates averaged",
)


HEAD_CANDIDATES = tuple(
    name
    for name in CANDIDATES
    if name not in ("rate of 2.5e-4", "frozen stages", "smaller pictures first", "RandAugment", "drop path")
)


def run(name: str, config: TrainConfig, splits: Splits, teachers: Sequence[Path]) -> tuple[Fit, AgeModel]:
    torch.manual_seed(config.seed)
    mean_age = float(np.mean([face.age for face in splits.train]))
    model = build_model(config.model_name, "imagenet", mean_age=mean_age, image_size=config.image_size)
    if name == "drop path":
        model.backbone = with_drop_path(model)
    kinds = {"mixup": Mixup, "decay everywhere": DecayEverywhere, "frozen stages": FrozenStages}
    kind = kinds.get(name, SmallFirst if name == "smaller pictures first" else Candidate)
    fit = kind(open_fabric("cpu", "float32"), model, config, splits.train, splits.validation, Progress(False))
    targets = {"labels not cut off": uncut_targets, "duplicates averaged": averaged_duplicates}
    aims = targets.get(name, plain_targets)(splits.train)
    if name == "cross-fitted labels":
        aims = 0.6 * aims + 0.4 * cross_fitted(fit)
    if name == "distilled" and not teachers:
        raise click.ClickException("distilled learns from base: run that first")
    if name == "distilled":
        taught = [torch.from_numpy(np.load(path)) for path in teachers]
        mean = torch.stack(taught).mean(0)
        aims = (aims + joined(expectation(mean, YEARS), mean)) / 2
    fit.aim_at(aims)
    return fit, model


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("network")
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--only", multiple=True, type=click.Choice(CANDIDATES))
@click.option("--seed", "seeds", multiple=True, type=int, default=(0, 1))
@click.option("--head-only", is_flag=True, help="On frozen features of larger pictures: seconds a run.")
@click.option("--table", is_flag=True, help="Print the table of what has been run.")
def main(
    data: Path, network: str, output: Path, only: tuple[str, ...], seeds: tuple[int, ...], head_only: bool, table: bool
) -> None:
    """Train the candidates on DATA from NETWORK; predictions go beside OUTPUT."""
    keep_freed_memory()
    torch.set_num_threads(1)
    splits = split_faces(read_faces(data).faces, protocol="folds5", fold=0)
    true = np.array([face.age for face in splits.validation])
    if table:
        click.echo("\n".join(rows(output, splits.validation)))
        return
    for name in only or (HEAD_CANDIDATES if head_only else CANDIDATES):
        for seed in seeds:
            config = configure(name, seed, network, head_only)
            train(name, config, splits, output, true)


def configure(name: str, seed: int, network: str, head_only: bool) -> TrainConfig:
    return TrainConfig(
        model_name=network,
        image_size=HEAD_ONLY_SIZE if head_only else SIZE,
        epochs=HEAD_ONLY_EPOCHS if head_only else EPOCHS,
        head_epochs=HEAD_ONLY_EPOCHS if head_only else HEAD_EPOCHS,
        finetune_learning_rate=2.5e-4 if name == "rate of 2.5e-4" else RATE,
        warmup_epochs=0,
        batch_size=64 if name == "batches of 64" else 32,
        seed=seed,
        workers=0,
    )


def train(name: str, config: TrainConfig, splits: Splits, output: Path, true: NDArray[np.float64]) -> None:
    seed = config.seed
    teachers = [file for number in range(MOST_SEEDS) if (file := _file(output, "base", number, "teacher")).is_file()]
    fit, model = run(name, config, splits, teachers)
    plain: Callable[..., augment.Pixels] = augment.colour_jitter
    if name == "RandAugment":
        augment.colour_jitter = randaugment
    try:
        for epoch, kept in fit.epochs():
            snapshot = kept
            click.echo(f"{name}, seed {seed}, epoch {epoch.number}: {epoch.metrics.mae:.3f}")
    finally:
        augment.colour_jitter = plain
    if snapshot.ema:  # none of a head alone
        model.load_state_dict(
            {key.removeprefix("module."): value for key, value in snapshot.ema.items() if key.startswith("module.")}
        )
    one = predict(fit, splits.validation)
    np.save(_file(output, name, seed, "plain"), to_numpy(one))
    if name == "base":
        np.save(_file(output, name, seed, "teacher"), to_numpy(predict(fit, splits.train)).astype(np.float32))
    if name == "base" and config.epochs > int(config.head_epochs):
        model.flip_tta = True
        np.save(_file(output, name, seed, "flip"), to_numpy(predict(fit, splits.validation)))
    click.echo(f"{name}, seed {seed}: {np.abs(_ages(to_numpy(one)) - true).mean():.3f}")


@torch.no_grad()
def predict(fit: Fit, faces: Sequence[Face]) -> Tensor:
    """Distributions, (N, K)."""
    if fit.config.epochs > int(fit.config.head_epochs):
        return functional.softmax(fit.predict(faces, "predictions"), dim=1)
    features = fit.map_faces(fit.model.features, faces, "features")
    return functional.softmax(fit.model.head.eval()(features), dim=1)


def rows(output: Path, faces: Sequence[Face]) -> Iterator[str]:
    """The mean over the seeds of each face's error, paired with the base's of the same seeds."""
    true = np.array([face.age for face in faces])
    pictures = np.unique([face.picture for face in faces], return_inverse=True)[1]

    def errors(name: str, kind: str = "plain") -> dict[int, NDArray[np.float64]]:
        files = {seed: _file(output, name, seed, kind) for seed in range(MOST_SEEDS)}
        return {seed: np.abs(_ages(np.load(file)) - true) for seed, file in files.items() if file.is_file()}

    base = errors("base")
    networks = [np.load(_file(output, "base", seed, "plain")) for seed in base]
    together = np.abs(_ages(np.mean(networks, axis=0)) - true)
    found = {name: errors(name) for name in CANDIDATES} | {"flip TTA": errors("base", "flip")}
    found[f"the mean of {len(networks)} networks"] = dict.fromkeys(base, together)
    yield f"| candidate | MAE of each seed (n={len(true):,}) | difference from the base |\n|---|---|---|"
    for name, error in found.items():
        if seeds := sorted(error.keys() & base.keys()):
            gain = mean_estimate(np.mean([error[seed] - base[seed] for seed in seeds], axis=0), pictures)
            each = ", ".join(f"{error[seed].mean():.3f}" for seed in seeds)
            yield f"| {name} | {each} | {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}) |"


def _ages(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    ages: NDArray[np.float64] = probabilities @ np.arange(BINS)
    return ages


def _file(output: Path, name: str, seed: int, kind: str) -> Path:
    return output.with_name(f"{output.stem}-{name.replace(' ', '-')}-{seed}-{kind}.npy")


if __name__ == "__main__":
    main()
