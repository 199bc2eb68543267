"""What the crop does to the ages: the same faces again, larger and smaller, shifted and turned."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from agedetect.data.faces import Face
from agedetect.data.geometry import Movement
from agedetect.evaluation.bootstrap import IntervalEstimate, mean_estimate
from agedetect.evaluation.pictures import moved
from agedetect.evaluation.predictions import Predictions
from agedetect.evaluation.predictor import Predictor, Progress

AIM_YEARS = 0.2  # the most that a slightly different crop, JITTER, may cost on average
JITTER = (0.15, 15.0, 0.05, 0.05)  # the most that "random" changes: of the size, degrees, of the side twice
AMOUNTS = {
    "size": (0.7, 0.8, 0.9, 1.1, 1.2, 1.3, 1.4),  # times
    "shift": (0.025, 0.05, 0.1, 0.15),  # of the side, each face in a direction of its own
    "turn": (5.0, 10.0, 15.0, 20.0, 30.0),  # degrees, each face to a side of its own
}
PREDICTIONS_A_FACE = sum(map(len, AMOUNTS.values())) + 1


@dataclass(frozen=True)
class MovedFaces:
    """The faces moved by `amount`, which is 1 for "random"; `growth` is how much larger the same faces' error is than
    unmoved, both in years."""

    factor: str
    amount: float
    mae: IntervalEstimate
    growth: IntervalEstimate


@dataclass(frozen=True, kw_only=True)
class CropSensitivity:
    """Of `n` faces, a seeded sample; `mae` is theirs unmoved. `steps` change one of AMOUNTS at a time; in `random` each
    face is scaled, shifted and turned at once, by up to JITTER."""

    n: int
    mae: IntervalEstimate
    steps: tuple[MovedFaces, ...]
    random: MovedFaces
    aim: float = AIM_YEARS

    @property
    def verdict(self) -> str:
        """Whether `random` stays below the aim: "met" or "missed" by its whole interval, else "undecided"."""
        low, high = self.random.growth.low, self.random.growth.high
        if low is None or high is None:
            return "undecided"
        return "met" if high < self.aim else "missed" if low >= self.aim else "undecided"


def crop_sensitivity(
    predictor: Predictor,
    unmoved: Predictions,
    count: int,
    *,
    flip_tta: bool,
    open_bar: Callable[[str, int], AbstractContextManager[Progress]],
) -> CropSensitivity:
    """`unmoved` are the model's predictions for the pictures as they are; at most `count` of its faces are sampled.

    Each costs PREDICTIONS_A_FACE more predictions. Raises what `Predictor.predict` does.
    """
    chosen = _sample(unmoved.faces, count)
    sample = Predictions.of([unmoved.faces[index] for index in chosen], unmoved.age[chosen])
    faces, before = sample.faces, np.abs(sample.error)
    mean = partial(mean_estimate, clusters=sample.clusters)
    with open_bar("moved faces", PREDICTIONS_A_FACE * len(faces)) as progress:

        def measure(factor: str, amount: float) -> MovedFaces:
            prepare = moved(partial(movement, factor=factor, amount=amount))
            after = np.abs(predictor.predict(faces, flip_tta=flip_tta, prepare=prepare, progress=progress).error)
            return MovedFaces(factor, amount, mean(after), mean(after - before))

        steps = tuple(measure(factor, amount) for factor, amounts in AMOUNTS.items() for amount in amounts)
        return CropSensitivity(n=len(faces), mae=mean(before), steps=steps, random=measure("random", 1.0))


def movement(face: Face, factor: str, amount: float) -> Movement:
    """By its pixels alone each face has its direction, its side and its random movement: the same for every model."""
    random = np.random.default_rng(int(face.digest, 16))
    angle, side = random.uniform(0, 2 * np.pi), random.choice((-1, 1))
    if factor == "size":
        return Movement(scale=amount)
    if factor == "shift":
        return Movement(right=amount * float(np.cos(angle)), down=amount * float(np.sin(angle)))
    if factor == "turn":
        return Movement(degrees=amount * float(side))
    scale, *others = (amount * random.uniform(-1, 1, 4) * np.array(JITTER)).tolist()
    return Movement(1 + scale, *others)


def _sample(faces: tuple[Face, ...], count: int) -> NDArray[np.intp]:
    """Indexes; which faces they are doesn't depend on the order."""
    order = np.array(sorted(range(len(faces)), key=lambda index: (faces[index].digest, faces[index].age)), np.intp)
    picked = np.random.default_rng(0).permutation(len(faces))[:count]
    return order[np.sort(picked)]
