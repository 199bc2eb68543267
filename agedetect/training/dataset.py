"""Faces as batches. The runtime resizes them; all randomness depends on (seed, epoch, index) alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from agedetect.data.faces import Face
from agedetect.errors import DataError, explained
from agedetect.training import augment
from agedetect_runtime.errors import ImageError
from agedetect_runtime.images import load_face, open_rgb

Item = tuple[Tensor, Tensor]
_LONGEST_WAIT = 300  # seconds for a batch: a worker that can't put it into shared memory drops it and says nothing
EVALUATION_BATCH = 32  # at 64, glibc maps and unmaps every large activation anew: half the speed at 128 px


class FaceDataset(Dataset[Item]):
    """Items are (face uint8 (S, S, 3), its target), indexed by (epoch, index), which seed the augmentation.

    The target is the age in years, or the face's row of `targets`. Raises DataError for an image that can no longer be
    read, the other AgedetectErrors for what else stops its process.
    """

    def __init__(
        self,
        faces: Sequence[Face],
        image_size: int,
        resampling: str,
        *,
        seed: int,
        augmentations: Collection[str] = (),
        targets: Tensor | None = None,
    ) -> None:
        self.faces, self.image_size, self.resampling = faces, image_size, resampling
        self.targets = torch.tensor([face.age for face in faces], dtype=torch.float32) if targets is None else targets
        self.seed, self.augmentations = seed, frozenset(augmentations)

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        epoch, index = key
        face = self.faces[index]
        random = np.random.default_rng((self.seed, epoch, index)) if self.augmentations else None
        with explained():  # here: a worker's exceptions leave it as text
            try:
                return torch.from_numpy(self._pixels(face, random)), self.targets[index]
            except ImageError as error:
                raise DataError(f"{face.path}: {error}, but could be read before: put it back, then resume") from error

    def _pixels(self, face: Face, random: np.random.Generator | None) -> augment.Pixels:
        if random is None:
            return load_face(face.path, self.image_size, self.resampling)
        flip = "flip" in self.augmentations and random.random() < 0.5
        if self.augmentations.isdisjoint(augment.GEOMETRY):
            pixels = load_face(face.path, self.image_size, self.resampling)
        else:
            moved = augment.geometric(open_rgb(face.path), self.augmentations, random)
            pixels = load_face(moved, self.image_size, self.resampling)
        if "colour" in self.augmentations:
            pixels = augment.colour_jitter(pixels, random)
        if "erase" in self.augmentations:
            pixels = augment.random_erasing(pixels, random)
        return pixels[:, ::-1].copy() if flip else pixels


class ShuffledBatches:
    """Batches of (epoch, index), this process's share of each; set `epoch` before iterating.

    Every process takes every world-th image of the same shuffled batches, so that together they are those of one
    process. The last images of an epoch that fill no batch are dropped.
    """

    def __init__(self, count: int, batch_size: int, *, seed: int, rank: int = 0, world: int = 1) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.rank, self.world, self.epoch = rank, world, 0

    def __len__(self) -> int:
        return self.count // self.batch_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.count)
        for batch in order[: len(self) * self.batch_size].reshape(len(self), self.batch_size):
            yield [(self.epoch, int(index)) for index in batch[self.rank :: self.world]]


class OrderedBatches:
    """Batches of (epoch, index) in order: every world-th image from `rank`, the first where there is none for it.

    So each process has a row to gather; `gather_rows` removes the surplus.
    """

    def __init__(self, count: int, *, rank: int = 0, world: int = 1, epoch: int = 0) -> None:
        self.epoch = epoch
        self.indexes = range(rank, count, world) or range(min(count, 1))

    def __len__(self) -> int:
        return -(-len(self.indexes) // EVALUATION_BATCH)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for start in range(0, len(self.indexes), EVALUATION_BATCH):
            yield [(self.epoch, index) for index in self.indexes[start : start + EVALUATION_BATCH]]


def loader(
    dataset: FaceDataset, batches: ShuffledBatches | OrderedBatches, *, workers: int, pinned: bool
) -> DataLoader[Item]:
    """Yields (faces uint8 (B, S, S, 3), targets float32 (B,) or (B, ...))."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=pinned,
        persistent_workers=workers > 0,
        timeout=_LONGEST_WAIT if workers else 0,
        generator=torch.Generator(),  # the workers' seeds must not come out of dropout's stream
    )


def _collate(items: list[Item]) -> tuple[Tensor, Tensor]:
    faces, targets = zip(*items, strict=True)
    return torch.stack(faces), torch.stack(targets)
