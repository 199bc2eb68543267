"""Teachers: registered models whose mean distribution is half of every training label (distillation)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor

from agedetect.config import TrainConfig
from agedetect.data.splits import Splits
from agedetect.errors import ConfigError
from agedetect.tracking.reading import RegisteredModel, load_registered_model
from agedetect.training.fit import Fit
from agedetect.training.progress import Progress


def load_teachers(addresses: Sequence[str], splits: Splits) -> list[RegisteredModel]:
    """Raises ModelError where one can't be loaded, ConfigError where it can't teach this run.

    A teacher of another split may have been trained on the faces that are kept apart here.
    """
    teachers = [load_registered_model(address) for address in addresses]
    for teacher in teachers:
        if teacher.spec.head != "distribution":
            raise ConfigError(f"teacher {teacher.address}: it gives no distribution: take one with head=distribution")
        if teacher.spec.provenance.get("split_fingerprint") != splits.fingerprint:
            raise ConfigError(
                f"teacher {teacher.address}: it was trained on another split, perhaps on this run's test faces: take "
                "one of the same data, protocol, fold and split seed"
            )
    return teachers


def fixed_address(teacher: RegisteredModel) -> str:
    """By its version, since an alias moves."""
    return f"models:/{teacher.registered_name}/{teacher.version}"


def teach(
    teachers: Sequence[RegisteredModel], fabric: Fabric, config: TrainConfig, splits: Splits, progress: Progress
) -> Tensor:
    """What `losses.distilled` learns, float32 (N, 1 + K): the training faces' ages and the teachers' distributions.

    The mean over the teachers, each over a face and its mirror image.
    """
    found = []
    for teacher in teachers:
        network = teacher.network.model
        network.flip_tta = True
        sized = dataclasses.replace(config, image_size=teacher.spec.image_size)
        outputs = Fit(fabric, network, sized, splits.train, (), progress).predict(splits.train, "teacher")
        found.append(torch.softmax(outputs, dim=1).cpu())
    ages = torch.tensor([face.age for face in splits.train], dtype=torch.float32)
    return torch.cat([ages[:, None], torch.stack(found).mean(dim=0)], dim=1)
