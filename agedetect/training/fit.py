"""The two phases, as data, through one loop. It yields epochs; the caller logs and keeps them, or stops."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from agedetect.config import TrainConfig
from agedetect.data.faces import Face
from agedetect.errors import DataError, RunError
from agedetect.evaluation.metrics import measure
from agedetect.models.losses import choose_loss
from agedetect.models.model import AgeModel
from agedetect.models.shared_batch import share_batches
from agedetect.tracking.checkpoints import Epoch, Snapshot
from agedetect.training.dataset import FaceDataset, OrderedBatches, ShuffledBatches, loader
from agedetect.training.distributed import gather_rows, to_numpy
from agedetect.training.ema import exponential_moving_average
from agedetect.training.optimizer import adamw, restore
from agedetect.training.phases import Phase, plan
from agedetect.training.progress import EVALUATION_IMAGE, TRAINING_IMAGE, Progress, work
from agedetect.training.schedule import LearningRateSchedule

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Task:
    """A phase made concrete: what is trained, on which batches of an epoch, and how it is evaluated.

    `forward` maps a batch's inputs to the head's outputs, `validate` gives those of the validation faces.
    """

    module: nn.Module
    forward: Callable[[Tensor], Tensor]
    optimizer: Optimizer
    batches: Callable[[int], Iterable[Batch]]
    steps: int
    validate: Callable[[], Tensor]
    work_per_image: int
    ema: AveragedModel | None = None


class Fit:
    """One run's model, faces and settings, and the loop over its phases.

    `features` keeps those of the frozen backbone for the next fit: of the same backbone, on the same faces.
    """

    def __init__(
        self,
        fabric: Fabric,
        model: AgeModel,
        config: TrainConfig,
        train: Sequence[Face],
        validation: Sequence[Face],
        progress: Progress,
        features: dict[str, Tensor] | None = None,
    ) -> None:
        if len(train) < config.batch_size:
            raise DataError(
                f"{len(train)} training faces do not fill one batch of {config.batch_size}: lower --batch-size"
            )
        if config.batch_size % fabric.world_size:
            raise DataError(f"batch_size={config.batch_size} cannot be shared by {fabric.world_size} processes evenly")
        self.fabric, self.config, self.progress = fabric, config, progress
        self.model = model.to(fabric.device).to(memory_format=torch.channels_last)
        self.train, self.validation = train, validation
        self.features = features
        self.targets = torch.tensor([face.age for face in train], dtype=torch.float32)
        self.loss = self.validation_loss = choose_loss(config.loss_name, label_sigma=config.label_sigma)

    def epochs(self, start: Snapshot | None = None) -> Iterator[tuple[Epoch, Snapshot]]:
        """Yields every epoch after `start`'s, or all of them, each with the state that it left."""
        done = start.epoch if start else 0
        if start:
            self.model.load_state_dict(start.model)
        phases = [phase for phase in plan(self.config) if phase.last > done]
        left = work(
            phases,
            done,
            train=len(self.train),
            validation=len(self.validation),
            batch_size=self.config.batch_size,
            world=self.fabric.world_size,
        )
        with self.progress.bar("training", left):
            yield from self._phases(phases, start, done)

    def _phases(self, phases: Sequence[Phase], start: Snapshot | None, done: int) -> Iterator[tuple[Epoch, Snapshot]]:
        for phase in phases:
            task = self._head_task(phase) if phase.part == "head" else self._full_task(phase)
            schedule = LearningRateSchedule(task.optimizer, phase, self.config, task.steps)
            if start and done >= phase.first:
                restore(task.optimizer, start.optimizer)
                schedule.load_state_dict(start.scheduler)
                if task.ema:
                    task.ema.load_state_dict(start.ema)
            for number in range(max(done + 1, phase.first), phase.last + 1):
                yield self._epoch(number, phase, task, schedule)

    def _epoch(self, number: int, phase: Phase, task: Task, schedule: LearningRateSchedule) -> tuple[Epoch, Snapshot]:
        torch.manual_seed(self.config.seed * 1_000_003 + number)  # dropout's stream: the epoch's own
        images = task.steps * self.config.batch_size
        began = time.perf_counter()
        self.progress.label(f"epoch {number}/{self.config.epochs} ({phase.part})")
        loss = self._train(task, number, (number - phase.first) * task.steps, schedule)
        speed = images / (time.perf_counter() - began)
        outputs, rate = task.validate(), schedule.current
        ages = torch.tensor([face.age for face in self.validation], device=outputs.device, dtype=torch.float32)
        metrics = measure(to_numpy(ages), to_numpy(self.model.age(outputs)))
        if not math.isfinite(loss + metrics.mae):
            raise RunError(f"epoch {number}: the loss is no longer a number: lower the learning rate of this phase")
        self.progress.validation_mae = metrics.mae
        schedule.after_epoch(metrics.mae)
        epoch = Epoch(number, phase.part, loss, float(self.validation_loss(outputs, ages)), metrics, rate, speed)
        ema = task.ema.state_dict() if task.ema else {}
        states = self.model.state_dict(), ema, task.optimizer.state_dict(), schedule.state_dict()
        return epoch, Snapshot(number, *states)

    def _train(self, task: Task, number: int, first_step: int, schedule: LearningRateSchedule) -> float:
        """One pass over the training images. Returns their mean loss."""
        self.model.eval()
        task.module.train()
        total, steps = torch.zeros((), device=self.fabric.device), 0
        for inputs, targets in task.batches(number):
            schedule.before_step(first_step + steps)
            loss = self.loss(task.forward(inputs), targets)
            self.fabric.backward(loss)
            task.optimizer.step()
            task.optimizer.zero_grad()
            if task.ema:
                task.ema.update_parameters(self.model)
            total, steps = total + loss.detach(), steps + 1
            self.progress.advance(task.work_per_image * len(targets), total, steps)
        return float(cast(Tensor, self.fabric.all_reduce(total / steps, reduce_op="mean")))

    def _head_task(self, phase: Phase) -> Task:
        """The backbone is frozen, so its features are computed once; after that the head is too small to share."""
        self.model.requires_grad_(False)
        self.model.head.requires_grad_(True)
        features = self._features(self.train, "training features")
        evaluated = self._features(self.validation, "validation features")
        targets = self.targets.to(self.fabric.device)
        batches = ShuffledBatches(len(self.train), self.config.batch_size, seed=self.config.seed)

        def epoch_batches(epoch: int) -> Iterator[Batch]:
            batches.epoch = epoch
            for keys in batches:
                indexes = torch.tensor([index for _, index in keys], device=self.fabric.device)
                yield features[indexes], targets[indexes]

        @torch.no_grad()
        def validate() -> Tensor:
            outputs: Tensor = self.model.head.eval()(evaluated)
            return outputs

        optimizer = self._adamw(self.model.head, phase)
        return Task(self.model.head, self.model.head, optimizer, epoch_batches, len(batches), validate, 0)

    def _features(self, faces: Sequence[Face], label: str) -> Tensor:
        kept = {} if self.features is None else self.features
        if label not in kept:
            kept[label] = self.map_faces(self.model.features, faces, label)
        return kept[label]

    def _full_task(self, phase: Phase) -> Task:
        self.model.requires_grad_(True)
        share_batches(self.model, rank=self.fabric.global_rank, world=self.fabric.world_size)
        module, optimizer = self.fabric.setup(self.model, self._adamw(self.model, phase))
        ema = exponential_moving_average(self.model, self.config.ema_decay) if self.config.ema_decay else None
        evaluated = ema.module if ema else self.model
        batches = ShuffledBatches(
            len(self.train),
            self.config.batch_size,
            seed=self.config.seed,
            rank=self.fabric.global_rank,
            world=self.fabric.world_size,
        )
        loaded = self._loader(self.train, batches, self.config.augmentations, self.targets)

        def epoch_batches(epoch: int) -> Iterable[Batch]:
            batches.epoch = epoch
            return loaded

        def validate() -> Tensor:
            return self.map_faces(evaluated.eval(), self.validation, "validation")

        return Task(self.model, module, optimizer, epoch_batches, len(batches), validate, TRAINING_IMAGE, ema)

    def predict(self, faces: Sequence[Face], label: str, *, view: int | None = None) -> Tensor:
        """The head's outputs, (N, C), in float32 and evaluation mode: what an exported file computes.

        With `view`, a number, of faces augmented as in training, each number in its own way.
        """
        return self.map_faces(self.model, faces, label, view=view)

    @torch.no_grad()
    def map_faces(
        self, function: Callable[[Tensor], Tensor], faces: Sequence[Face], label: str, *, view: int | None = None
    ) -> Tensor:
        """`function` of every face, uint8 (B, S, S, 3) -> (B, ...); the processes share the work, each gets all."""
        self.model.eval()
        rank, world = self.fabric.global_rank, self.fabric.world_size
        batches = OrderedBatches(len(faces), rank=rank, world=world, epoch=view or 0)
        augmentations = () if view is None else self.config.augmentations
        # TF32, cuDNN's default, isn't what the exported file computes.
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        with exact, self.progress.bar(label, EVALUATION_IMAGE * len(batches.indexes)):
            rows = []
            for inputs, _ in self._loader(faces, batches, augmentations):
                rows.append(function(inputs))
                self.progress.advance(EVALUATION_IMAGE * len(inputs))
        return gather_rows(self.fabric, torch.cat(rows), len(faces))

    def _loader(
        self,
        faces: Sequence[Face],
        batches: ShuffledBatches | OrderedBatches,
        augmentations: Collection[str] = (),
        targets: Tensor | None = None,
    ) -> Iterable[Batch]:
        size, seed = self.config.image_size, self.config.seed
        dataset = FaceDataset(
            faces, size, self.model.resampling, seed=seed, augmentations=augmentations, targets=targets
        )
        pinned = self.fabric.device.type == "cuda"
        loaded = loader(dataset, batches, workers=int(self.config.workers), pinned=pinned)
        return cast(Iterable[Batch], self.fabric.setup_dataloaders(loaded, use_distributed_sampler=False))

    def _adamw(self, module: nn.Module, phase: Phase) -> Optimizer:
        return adamw(module, learning_rate=phase.learning_rate, weight_decay=self.config.weight_decay)
