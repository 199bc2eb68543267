"""Sources -> rows on worker threads, in the order of the sources, at most a fixed number ahead.

A worker loads one image at a time, and whoever loads the last one of a batch runs the model on it while the others
load the next. So no core waits for another, and nobody has to divide them between decoding and the model.
"""

from __future__ import annotations

import atexit
import math
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from agedetect_runtime import memory
from agedetect_runtime.errors import AgedetectError, ImageError

Source = TypeVar("Source")
Item = TypeVar("Item")  # what is loaded of a source, such as the pixels of a face
Row = TypeVar("Row")
Load = Callable[[Source], Item]
Loaded = NDArray[np.uint8] | str  # a face, or the reason why there is none
Answer = Callable[[Sequence[Source], Sequence[Item | str]], Sequence[Row]]

_GRACE_SECONDS = 1.0  # for a late image: perhaps the whole process was stopped (Ctrl-Z, a paused container)
_LEAVE_SECONDS = 1.0  # how long closing waits for images that are being loaded; a run of the model always ends


def batches_ahead(threads: int) -> int:
    """How many batches are taken from the sources before the first one's rows are out.

    One for each thread to run the model on and one to load; as many again, so that a slow batch at the head of
    the order doesn't leave the others without work.
    """
    return 2 * (threads + 1)


def stream(
    sources: Iterable[Source],
    load: Load[Source, Item],
    answer: Answer[Source, Item, Row],
    *,
    threads: int,
    batch_size: int,
    image_seconds: float | None = None,
) -> Generator[Row, None, None]:
    """Yield what `answer` makes of each batch, in order; `load` and `answer` run on `threads` threads at once.

    An ImageError of `load`, or more than `image_seconds` in it, gives the image its reason. Anything else that is
    raised, there or by `sources`, is raised here, after the rows of the batches before. `sources` are taken on the
    caller's thread, `batches_ahead(threads)` batches at most. Closing the generator ends the threads. It belongs to
    the process that began it: in a forked child, which has none of the threads, it raises AgedetectError.
    """
    remaining = iter(sources)
    workers = _Workers(load, answer, threads, image_seconds)
    ahead: deque[_Batch[Source, Item, Row]] = deque()
    failure: Exception | None = None
    more = True
    try:
        while more:
            batch, failure = _take(remaining, batch_size)
            more = failure is None and len(batch) == batch_size
            if batch:
                ahead.append(workers.begin(batch))
            if ahead and (len(ahead) == batches_ahead(threads) or ahead[0].done.is_set()):
                yield from workers.rows_of(ahead.popleft())
        while ahead:
            yield from workers.rows_of(ahead.popleft())
        if failure is not None:
            raise failure
    finally:
        workers.close()


def _take(remaining: Iterator[Source], count: int) -> tuple[list[Source], Exception | None]:
    """Up to `count` sources, and what their iterator raised after them."""
    taken: list[Source] = []
    try:
        for source in islice(remaining, count):
            taken.append(source)
    except Exception as error:  # the caller's own iterator may raise anything
        return taken, error
    return taken, None


class _Batch(Generic[Source, Item, Row]):
    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = sources
        self.loaded: list[Item | str | BaseException] = [""] * len(sources)
        self.missing = len(sources)
        self.rows: Sequence[Row] = ()
        self.failure: BaseException | None = None
        self.done = threading.Event()


class _Worker(threading.Thread, Generic[Source, Item, Row]):
    """`loading` is the image that it is opening, by batch and place, due at `deadline` of the monotonic clock.

    `is_late` once that has been put off.
    """

    def __init__(self, work: Callable[[_Worker[Source, Item, Row]], None]) -> None:
        # A daemon: an image that never ends must not keep the process.
        super().__init__(target=work, args=(self,), name="agedetect", daemon=True)
        self.loading: tuple[_Batch[Source, Item, Row], int] | None = None
        self.deadline = 0.0
        self.is_late = False


class _Workers(Generic[Source, Item, Row]):
    """Threads, started as work arrives; an image that takes too long keeps its thread, and a new one replaces it."""

    def __init__(
        self, load: Load[Source, Item], answer: Answer[Source, Item, Row], threads: int, image_seconds: float | None
    ) -> None:
        self._load, self._answer = load, answer
        self._threads, self._image_seconds = threads, math.inf if image_seconds is None else image_seconds
        # A batch and the place of an image to load; without a place, all are loaded and the model is to run.
        self._jobs: queue.SimpleQueue[tuple[_Batch[Source, Item, Row], int | None] | None] = queue.SimpleQueue()
        self._workers: list[_Worker[Source, Item, Row]] = []
        self._lock = threading.RLock()  # over what was loaded, by whom
        self._begun = 0
        self._closed = False
        self._pid = os.getpid()
        atexit.register(self.close)  # later, Python 3.13 would count threads as alive that can't run any more

    def begin(self, sources: Sequence[Source]) -> _Batch[Source, Item, Row]:
        batch: _Batch[Source, Item, Row] = _Batch(sources)
        for place in range(len(sources)):
            self._jobs.put((batch, place))
        self._begun += len(sources)
        while len(self._workers) < min(self._threads, self._begun):
            self._start()
        return batch

    def rows_of(self, batch: _Batch[Source, Item, Row]) -> Sequence[Row]:
        """Wait for the rows, and meanwhile give up on images that take too long."""
        if self._pid != os.getpid():
            raise AgedetectError("predict_many was begun before this process was forked; call it again in the child")
        while not batch.done.wait(self._give_up_late()):
            pass
        if batch.failure is not None:
            raise batch.failure
        return batch.rows

    def close(self) -> None:
        """End the threads; one that is still loading after a second is left to itself."""
        if self._closed:  # at exit, before Python drops the generator
            return
        self._closed = True
        with suppress(queue.Empty):
            while True:
                self._jobs.get_nowait()
        for _ in self._workers:
            self._jobs.put(None)
        patience = time.monotonic() + _LEAVE_SECONDS
        for worker in self._workers:
            while worker.is_alive() and (worker.loading is None or time.monotonic() < patience):
                worker.join(0.05)
        atexit.unregister(self.close)

    def _start(self) -> None:
        worker = _Worker(self._work)
        self._workers.append(worker)
        worker.start()

    def _work(self, worker: _Worker[Source, Item, Row]) -> None:
        while worker in self._workers and (job := self._jobs.get()) is not None:
            batch, place = job
            complete = place is None or self._load_one(worker, batch, place)
            if complete and not self._closed:
                self._finish(batch)

    def _load_one(self, worker: _Worker[Source, Item, Row], batch: _Batch[Source, Item, Row], place: int) -> bool:
        """Whether the batch has all of its images now."""
        worker.deadline, worker.is_late = time.monotonic() + self._image_seconds, False
        worker.loading = batch, place
        loaded: Item | str | BaseException
        try:
            loaded = self._load(batch.sources[place])
        except ImageError as error:
            loaded = str(error)
        except BaseException as error:  # a bug, or a source that raises: the caller's thread shall see it
            loaded = error
        return self._hand_in(worker, loaded)

    def _hand_in(self, worker: _Worker[Source, Item, Row], loaded: Item | str | BaseException) -> bool:
        with self._lock:
            if worker.loading is None:  # given up meanwhile
                return False
            batch, place = worker.loading
            worker.loading = None
            batch.loaded[place] = loaded
            batch.missing -= 1
            return batch.missing == 0

    def _finish(self, batch: _Batch[Source, Item, Row]) -> None:
        loaded: list[Item | str] = []
        try:
            for item in batch.loaded:
                if isinstance(item, BaseException):
                    raise item
                loaded.append(item)
            batch.rows = self._answer(batch.sources, loaded)
        except BaseException as error:  # raised where the rows are waited for
            batch.failure = error
        batch.loaded = []
        batch.done.set()

    def _give_up_late(self) -> float:
        """Give up on images that are late now; returns the seconds until the next one can be."""
        left = min(self._image_seconds, threading.TIMEOUT_MAX)
        for worker in tuple(self._workers):
            with self._lock:
                if worker.loading is None:
                    continue
                now = time.monotonic()
                if memory.is_waiting(worker.ident):  # for the large images of other workers
                    worker.deadline = now + self._image_seconds
                if worker.deadline <= now and not worker.is_late:
                    worker.is_late, worker.deadline = True, now + min(_GRACE_SECONDS, self._image_seconds)
                if worker.deadline > now:
                    left = min(left, worker.deadline - now)
                    continue
                batch, _ = worker.loading
                self._workers.remove(worker)  # before its image is handed in, or it would take another one
                memory.give_up(worker.ident)
                complete = self._hand_in(worker, f"took longer than {self._image_seconds:g} s")
            self._start()
            if complete:
                self._jobs.put((batch, None))
        return left
