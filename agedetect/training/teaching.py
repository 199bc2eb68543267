"""Teachers: registered models whose mean distribution is half of every training label (distillation)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from agedetect.data.splits import Splits
from agedetect.errors import ConfigError
from agedetect.models.heads import BINS
from agedetect.tracking.reading import RegisteredModel, load_registered_model
from agedetect.training.progress import EVALUATION_IMAGE, Progress


def load_teachers(addresses: Sequence[str], splits: Splits) -> list[RegisteredModel]:
    """Raises ModelError where one can't be loaded, ConfigError where it can't teach this run.

    A teacher whose test faces are others may have been trained on the faces that are kept apart here.
    """
    teachers = [load_registered_model(address) for address in addresses]
    for teacher in teachers:
        if teacher.spec.head != "distribution":
            raise ConfigError(f"teacher {teacher.address}: it gives no distribution")
        if teacher.spec.provenance.get("test_fingerprint") != splits.test_fingerprint:
            raise ConfigError(
                f"teacher {teacher.address}: its test faces aren't this run's, so it may have been trained on them: "
                "take one of the same data, protocol, fold and split seed"
            )
    return teachers


def fixed_address(teacher: RegisteredModel) -> str:
    """By its version, since an alias moves."""
    return f"models:/{teacher.registered_name}/{teacher.version}" if teacher.version else teacher.address


def teach(teachers: Sequence[RegisteredModel], splits: Splits, progress: Progress) -> Tensor:
    """What `losses.distilled` learns, float32 (N, 1 + K): the training faces' ages and the teachers' distributions.

    The mean over the teachers, each over a face and its mirror image.
    """
    faces = splits.train
    total = np.zeros((len(faces), BINS))
    with progress.bar("teachers", EVALUATION_IMAGE * len(faces) * len(teachers)):
        for teacher in teachers:
            found = teacher.predict(
                faces, flip_tta=True, progress=lambda count: progress.advance(EVALUATION_IMAGE * count)
            )
            total += np.asarray(found.probabilities)
    ages = np.array([face.age for face in faces])
    return torch.from_numpy(np.column_stack([ages, total / len(teachers)]).astype(np.float32))
