"""A progress bar on a terminal; elsewhere the log lines of the epochs are enough."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from agedetect.training.phases import Phase

# An image that is trained on counts as three: its backward pass computes about twice what the forward pass does.
TRAINING_IMAGE, EVALUATION_IMAGE = 3, 1
_FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
_SMOOTHING = 0.05  # of the speed: the time left shouldn't jump where training images follow validation images


def work(phases: Iterable[Phase], done: int, *, train: int, validation: int, batch_size: int, world: int) -> int:
    """What the epochs after `done` cost the first of `world` processes, in evaluated images.

    The head phase passes each face through the backbone once; its epochs cost next to nothing.
    """
    evaluated = -(-validation // world) * EVALUATION_IMAGE
    trained = train // batch_size * batch_size // world * TRAINING_IMAGE
    total = 0
    for phase in phases:
        if phase.part == "head":
            total += -(-train // world) * EVALUATION_IMAGE + evaluated
        else:
            total += (phase.last - max(done, phase.first - 1)) * (trained + evaluated)
    return total


class Progress:
    """The bar of one process; of several, only the first shows any.

    A bar inside of another is part of it: so the epochs and their validation share the run's.
    """

    def __init__(self, shown: bool | None = None) -> None:
        self.shown = sys.stderr.isatty() if shown is None else shown
        self.validation_mae: float | None = None
        self.current: tqdm[Any] | None = None

    @contextmanager
    def bar(self, label: str, work: int) -> Iterator[None]:
        """`work` is what `advance` will add up to, in evaluated images."""
        if not self.shown or self.current is not None:
            self.label(label)
            yield
            return
        with (
            logging_redirect_tqdm(),
            tqdm(total=work, desc=label, leave=False, bar_format=_FORMAT, smoothing=_SMOOTHING) as self.current,
        ):
            try:
                yield
            finally:
                self.current = None

    def label(self, text: str) -> None:
        if self.current is not None:
            self.current.set_description(text)

    def advance(self, work: int, total_loss: Tensor | None = None, steps: int = 1) -> None:
        if self.current is None:
            return
        if total_loss is not None and (steps == 1 or steps % 20 == 0):  # reading a loss waits for the GPU
            shown = {"loss": f"{float(total_loss) / steps:.2f}"}
            if self.validation_mae is not None:
                shown["validation MAE"] = f"{self.validation_mae:.2f}"
            self.current.set_postfix(shown, refresh=False)
        self.current.update(work)
