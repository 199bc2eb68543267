"""`--benchmark`: which number of threads and which batch size are fastest here, with this model and these images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle, islice
from typing import TYPE_CHECKING, NamedTuple

import click

from agedetect_runtime.cores import usable_cores
from agedetect_runtime.errors import AgedetectError
from agedetect_runtime.remedies import nothing_worked

if TYPE_CHECKING:
    from agedetect_runtime.estimate import Result
    from agedetect_runtime.estimator import AgeEstimator
    from agedetect_runtime.finding import Finding

_IMAGES = 512  # the first ones, again and again
_SECONDS = 2.0  # of each setting, in each round
_ROUNDS = 2  # the best counts: what else the machine does can only slow it down
_BATCH_SIZES = {"cpu": (1, 4, 8, 16, 32), "cuda": (16, 32, 64, 128)}
_NOTABLE = 1.03  # times as fast as the defaults; less differs from one call to the next

Answers = Callable[[Iterator[str]], Iterator["Result | Finding"]]


class Setting(NamedTuple):
    threads: int
    batch_size: int


def benchmark(estimator: AgeEstimator, paths: Iterable[str], answers: Answers) -> None:
    """Print how fast settings are, first by threads, then by batch sizes with the best of those, and what to type.

    `answers` estimates paths with `estimator`. Raises AgedetectError where none of the images can be used.
    """
    images = list(islice(paths, _IMAGES))
    _check(images, answers)
    default = Setting(estimator.threads, estimator.batch_size)
    click.echo(f"{'threads':>7} {'batch size':>10} {'images/s':>9}")
    cores = usable_cores()
    by_threads = [Setting(count, default.batch_size) for count in sorted({1, max(1, cores // 2), cores, 2 * cores})]
    rates = _measure(estimator, by_threads, images, answers)
    threads = max(rates, key=rates.__getitem__).threads
    sizes = [size for size in _BATCH_SIZES[estimator.device] if size != default.batch_size]
    rates |= _measure(estimator, [Setting(threads, size) for size in sizes], images, answers)
    best = max(rates, key=rates.__getitem__)
    if rates[best] < _NOTABLE * rates[default]:
        click.echo("The defaults are as fast as anything here: type nothing more.")
        return
    gain = f"{rates[best] / rates[default]:.2f} times as fast as the defaults"
    click.echo(f"Type: --threads {best.threads} --batch-size {best.batch_size}    ({gain})")


def _check(images: Sequence[str], answers: Answers) -> None:
    first: tuple[str, str] | None = None
    for answer in answers(iter(images)):
        if answer.error is None:
            return
        first = first or (str(answer.source), answer.error)
    if first is None:
        raise AgedetectError("-: no paths on standard input")
    raise AgedetectError(nothing_worked(*first, len(images), listed=False))


def _measure(
    estimator: AgeEstimator, settings: Sequence[Setting], images: Sequence[str], answers: Answers
) -> dict[Setting, float]:
    """Images a second, the best of rounds that take the settings in turns."""
    rates = dict.fromkeys(settings, 0.0)
    for _ in range(_ROUNDS):
        for setting in settings:
            estimator.threads, estimator.batch_size = setting
            rates[setting] = max(rates[setting], _rate(answers(cycle(images)), setting.batch_size))
    for setting, rate in rates.items():
        click.echo(f"{setting.threads:>7} {setting.batch_size:>10} {rate:>9.1f}")
    return rates


def _rate(results: Iterator[Result | Finding], batch_size: int) -> float:
    """Images a second from the end of the first batch to the end of a later one."""
    start = 0.0
    for count, _ in enumerate(results, 1):
        if count % batch_size == 0:
            now = time.perf_counter()
            start = start or now
            if now - start >= _SECONDS:
                break
    return (count - batch_size) / (now - start)
