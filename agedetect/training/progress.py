"""Progress bars on a terminal; elsewhere the log lines of the epochs are enough."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from tqdm import tqdm


class Bar:
    """Counts images; tqdm adds the time left and the images a second."""

    def __init__(self, bar: tqdm[Any], validation_mae: float | None) -> None:
        self.bar, self.validation_mae = bar, validation_mae

    def advance(self, images: int, total_loss: Tensor | None = None, steps: int = 1) -> None:
        if self.bar.disable:
            return
        if total_loss is not None and (steps == 1 or steps % 20 == 0):  # reading a loss waits for the GPU
            shown = {"loss": f"{float(total_loss) / steps:.2f}"}
            if self.validation_mae is not None:
                shown["validation MAE"] = f"{self.validation_mae:.2f}"
            self.bar.set_postfix(shown, refresh=False)
        self.bar.update(images)


class Progress:
    """The bars of one process; of several, only the first shows any."""

    def __init__(self, shown: bool | None = None) -> None:
        self.shown = sys.stderr.isatty() if shown is None else shown
        self.validation_mae: float | None = None

    @contextmanager
    def bar(self, label: str, images: int) -> Iterator[Bar]:
        with tqdm(total=images, desc=label, unit="img", disable=not self.shown, leave=False) as bar:
            yield Bar(bar, self.validation_mae)
