"""What the candidates of benchmarks.candidates change: the loop, the labels, the pictures, the network."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor
from torch.nn import functional
from torch.optim import AdamW

from agedetect.data.faces import Face
from agedetect.models.heads import BINS, DistributionHead, expectation
from agedetect.models.losses import gaussian_labels
from agedetect.models.model import AgeModel
from agedetect.training import augment
from agedetect.training.fit import Fit, Task
from agedetect.training.phases import Phase

MIXUP_ALPHA, DROP_PATH, FROZEN_BLOCKS, RANDAUGMENT = 0.2, 0.05, 4, (2, 0.3)
YEARS = torch.arange(BINS, dtype=torch.float32)
FEATURES: dict[tuple[int, int], Tensor] = {}


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


def with_drop_path(model: AgeModel) -> torch.nn.Module:
    import timm

    given: dict[str, Any] = {"num_classes": 0, "drop_path_rate": DROP_PATH, **model.arguments}
    network: torch.nn.Module = timm.create_model(model.architecture.removeprefix("timm/"), **given)
    network.load_state_dict(model.backbone.state_dict())
    return network
