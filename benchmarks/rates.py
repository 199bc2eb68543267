"""Images per second of several contenders, taken in turns, so that whatever slows the machine slows all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median

Contender = Callable[[], int]  # does some work and says for how many images


def in_turns(contenders: Mapping[str, Contender], rounds: int) -> dict[str, float]:
    """Each contender's images per second, the median of its rounds, after one round that doesn't count."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, contender in contenders.items():
            start = time.perf_counter()
            images = contender()
            if turn:
                rates[name].append(images / (time.perf_counter() - start))
    return {name: median(values) for name, values in rates.items()}


def on_threads(work: Callable[[Sequence[str]], int], paths: Sequence[str], threads: int) -> int:
    """Share the paths among so many threads, and wait for all of them; the sum of what `work` returns."""
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, [paths[start::threads] for start in range(threads)]))


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown, as docs/performance.md holds it."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
