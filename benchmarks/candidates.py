"""Changes of the recipe that aren't options: what each brings, with two seeds, before it may become one.

    python -m benchmarks.candidates half.csv timm/local-dir:FOLDER results.csv      # --only mixup --seed 0
    python -m benchmarks.candidates half.csv timm/local-dir:FOLDER heads.csv --head-only --seed 0 --seed 1 --seed 2
    python -m benchmarks.candidates half.csv timm/local-dir:FOLDER results.csv --table

`half.csv` is that of benchmarks.recipes: no test face of the default split is in it. The predictions for the
validation faces are kept beside `results.csv`, one file a run, so that rows are compared face by face.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor
from torch.nn import functional
from torch.optim import AdamW

from agedetect.config import TrainConfig
from agedetect.data.faces import Face, read_faces
from agedetect.data.splits import Splits, split_faces
from agedetect.evaluation.bootstrap import mean_estimate
from agedetect.models.heads import BINS, DistributionHead, expectation
from agedetect.models.losses import gaussian_labels
from agedetect.models.model import AgeModel, build_model
from agedetect.training import augment
from agedetect.training.distributed import keep_freed_memory, open_fabric, to_numpy
from agedetect.training.fit import Fit, Task
from agedetect.training.phases import Phase
from agedetect.training.progress import Progress

SIZE, EPOCHS, HEAD_EPOCHS, RATE = 64, 6, 2, 8e-5
HEAD_ONLY_SIZE, HEAD_ONLY_EPOCHS, MOST_SEEDS = 160, 10, 10
FEATURES: dict[tuple[int, int], Tensor] = {}
YEARS = torch.arange(BINS, dtype=torch.float32)
MIXUP_ALPHA, DROP_PATH, FROZEN_BLOCKS, RANDAUGMENT = 0.2, 0.05, 4, (2, 0.3)


class Candidate(Fit):
    """A run whose labels may be anything: targets (N, 1 + K) are ages and distributions."""

    def aim_at(self, targets: Tensor) -> None:
        self.targets, self.loss = targets, dldl_v2

    def map_faces(
        self, function: Callable[[Tensor], Tensor], faces: Sequence[Face], label: str, *, view: int | None = None
    ) -> Tensor:
        """The features of the frozen backbone are those of the run before, where there was one."""
        if not label.endswith("features"):
            return super().map_faces(function, faces, label, view=view)
        key = (self.config.image_size, len(faces))
        if key not in FEATURES:
            FEATURES[key] = super().map_faces(function, faces, label, view=view)
        return FEATURES[key]


class Mixup(Candidate):
    """Mixup of pictures, or features, and targets (Zhang et al., ICLR 2018) in the last phase."""

    def _full_task(self, phase: Phase) -> Task:
        return self._mixed(super()._full_task(phase))

    def _head_task(self, phase: Phase) -> Task:
        task = super()._head_task(phase)
        return self._mixed(task) if phase.last == self.config.epochs else task

    def _mixed(self, task: Task) -> Task:
        random = np.random.default_rng(self.config.seed)

        def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
            for faces, targets in task.batches(epoch):
                share = float(random.beta(MIXUP_ALPHA, MIXUP_ALPHA))
                mixed = share * faces.float() + (1 - share) * faces.flip(0).float()
                yield mixed, share * targets + (1 - share) * targets.flip(0)

        return dataclasses.replace(task, batches=batches)


class DecayEverywhere(Candidate):
    """Weight decay of norms and biases too."""

    def _adamw(self, module: torch.nn.Module, phase: Phase) -> AdamW:
        return AdamW(module.parameters(), lr=phase.learning_rate, weight_decay=self.config.weight_decay)


class FrozenStages(Candidate):
    """The stem and the first blocks keep their weights and running statistics."""

    def _full_task(self, phase: Phase) -> Task:
        task = super()._full_task(phase)
        parts = dict(self.model.backbone.named_children())
        frozen = [parts["conv_stem"], parts["bn1"], *list(parts["blocks"].children())[:FROZEN_BLOCKS]]
        for part in frozen:
            part.requires_grad_(False)
            for norm in (module for module in part.modules() if isinstance(module, torch.nn.BatchNorm2d)):
                norm.momentum = 0.0
        return task


class SmallFirst(Candidate):
    """The first half of the fine-tuning at three quarters of the size."""

    def _full_task(self, phase: Phase) -> Task:
        task = super()._full_task(phase)

        def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
            early = epoch < (phase.first + phase.last + 1) // 2
            for faces, targets in task.batches(epoch):
                if early:
                    faces = functional.interpolate(
                        faces.permute(0, 3, 1, 2).float(), scale_factor=0.75, mode="bilinear", antialias=True
                    ).permute(0, 2, 3, 1)
                yield faces, targets

        return dataclasses.replace(task, batches=batches)


def dldl_v2(outputs: Tensor, targets: Tensor) -> Tensor:
    divergence = functional.kl_div(functional.log_softmax(outputs, dim=1), targets[:, 1:], reduction="batchmean")
    return divergence + functional.l1_loss(expectation(functional.softmax(outputs, dim=1), YEARS), targets[:, 0])


def joined(ages: Tensor, labels: Tensor) -> Tensor:
    return torch.cat([ages[:, None], labels], dim=1)


def plain_targets(faces: Sequence[Face]) -> Tensor:
    ages = torch.tensor([face.age for face in faces])
    return joined(ages, gaussian_labels(ages, 2.0))


def uncut_targets(faces: Sequence[Face]) -> Tensor:
    """Narrower below five years, so that no label is cut off at birth."""
    ages = torch.tensor([face.age for face in faces])
    sigmas = (ages / 2.5).clamp(0.5, 2.0)
    return joined(ages, functional.softmax(-0.5 * ((YEARS - ages[:, None]) / sigmas[:, None]) ** 2, dim=1))


def averaged_duplicates(faces: Sequence[Face]) -> Tensor:
    """The files of one photograph share the mean of their ages."""
    ages: dict[str, list[float]] = {}
    for face in faces:
        ages.setdefault(face.picture, []).append(face.age)
    return plain_targets([dataclasses.replace(face, age=float(np.mean(ages[face.picture]))) for face in faces])


def cross_fitted(fit: Fit, folds: int = 5) -> Tensor:
    """What heads on frozen features say of the training faces that they didn't train on: labels without their noise."""
    features = fit.map_faces(fit.model.features, fit.train, "training features")
    targets = plain_targets(fit.train)
    ages = targets[:, 0]
    fold = torch.from_numpy(np.random.default_rng(7).integers(0, folds, len(ages)))
    found = torch.zeros(len(ages), BINS)
    for number in range(folds):
        torch.manual_seed(number)
        head = DistributionHead(features.shape[1], dropout=0.1, mean_age=float(ages.mean()))
        optimizer = AdamW(head.parameters(), lr=1e-3, weight_decay=1e-2)
        inside = torch.nonzero(fold != number).squeeze(1)
        for _ in range(6):
            for batch in torch.split(inside[torch.randperm(len(inside))], 32):
                torch.autograd.backward(dldl_v2(head.train()(features[batch]), targets[batch]))
                optimizer.step()
                optimizer.zero_grad()
        with torch.no_grad():
            found[fold == number] = functional.softmax(head.eval()(features[fold == number]), dim=1)
    return joined(expectation(found, YEARS), found)


def randaugment(pixels: augment.Pixels, random: Generator) -> augment.Pixels:
    """RandAugment (Cubuk et al., NeurIPS 2020) over what leaves a face's age and place alone, two changes a picture."""
    count, strength = RANDAUGMENT
    image = Image.fromarray(pixels)
    for choice in random.permutation(7)[:count]:
        amount = strength * random.uniform(-1, 1)
        enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
        if choice < 3:
            image = enhancers[choice](image).enhance(1 + amount)
        elif choice == 3:
            image = ImageEnhance.Sharpness(image).enhance(1 + 3 * amount)
        elif choice == 4:
            image = ImageOps.autocontrast(image, cutoff=abs(amount) * 10)
        elif choice == 5:
            image = ImageOps.posterize(image, 8 - round(abs(amount) * 10))
        else:
            file = io.BytesIO()
            image.save(file, "JPEG", quality=round(95 - 200 * abs(amount)))
            image = Image.open(file)
    return np.array(image)


def run(name: str, config: TrainConfig, splits: Splits, teachers: Sequence[Path]) -> tuple[Fit, AgeModel]:
    torch.manual_seed(config.seed)
    mean_age = float(np.mean([face.age for face in splits.train]))
    model = build_model(config.model_name, "imagenet", mean_age=mean_age, image_size=config.image_size)
    if name == "drop path":
        model.backbone = _with_drop_path(model)
    kinds = {"mixup": Mixup, "decay everywhere": DecayEverywhere, "frozen stages": FrozenStages}
    kind = kinds.get(name, SmallFirst if name == "smaller pictures first" else Candidate)
    fit = kind(open_fabric("cpu", "float32"), model, config, splits.train, splits.validation, Progress(False))
    targets = {"labels not cut off": uncut_targets, "duplicates averaged": averaged_duplicates}
    aims = targets.get(name, plain_targets)(splits.train)
    if name == "cross-fitted labels":
        aims = 0.6 * aims + 0.4 * cross_fitted(fit)
    if name == "distilled":
        taught = [torch.from_numpy(np.load(path)) for path in teachers]
        mean = torch.stack(taught).mean(0)
        aims = (aims + joined(expectation(mean, YEARS), mean)) / 2
    fit.aim_at(aims)
    return fit, model


def _with_drop_path(model: AgeModel) -> torch.nn.Module:
    import timm

    given: dict[str, Any] = {"num_classes": 0, "drop_path_rate": DROP_PATH, **model.arguments}
    network: torch.nn.Module = timm.create_model(model.architecture.removeprefix("timm/"), **given)
    network.load_state_dict(model.backbone.state_dict())
    return network


CANDIDATES = (
    "base",
    "rate of 3e-4",
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
    if name not in ("rate of 3e-4", "frozen stages", "smaller pictures first", "RandAugment", "drop path")
)


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
        click.echo("\n".join(rows(output, true)))
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
        finetune_learning_rate=3e-4 if name == "rate of 3e-4" else RATE,
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


def rows(output: Path, true: NDArray[np.float64]) -> Iterator[str]:
    """The mean over both seeds of each face's error, paired with the base's."""

    def distributions(name: str, kind: str) -> list[NDArray[np.float64]]:
        files = (_file(output, name, seed, kind) for seed in range(MOST_SEEDS))
        return [np.load(file) for file in files if file.is_file()]

    def errors(found: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.stack([np.abs(_ages(each) - true) for each in found])

    plain = distributions("base", "plain")
    base = errors(plain)
    yield f"| candidate | MAE of each seed (n={len(true):,}) | difference from the base |\n|---|---|---|"
    found = {name: kept for name in CANDIDATES if (kept := distributions(name, "plain"))}
    if flipped := distributions("base", "flip"):
        found["flip TTA"] = flipped
    found[f"the mean of {len(plain)} networks"] = [np.mean(plain, axis=0)]
    for name, kept in found.items():
        error = errors(kept)
        paired = base[: len(error)] if len(error) > 1 else base
        gain = mean_estimate(error.mean(0) - paired.mean(0))
        each = ", ".join(f"{value:.2f}" for value in error.mean(1))
        yield f"| {name} | {each} | {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}) |"


def _ages(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    ages: NDArray[np.float64] = probabilities @ np.arange(BINS)
    return ages


def _file(output: Path, name: str, seed: int, kind: str) -> Path:
    return output.with_name(f"{output.stem}-{name.replace(' ', '-')}-{seed}-{kind}.npy")


if __name__ == "__main__":
    main()
