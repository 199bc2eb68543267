"""Worker threads: rows in order, a bounded number ahead, failures in their place, and nothing that never ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agedetect_runtime import AgeEstimator, ImageError, pipeline
from agedetect_runtime.cores import cores_of_quota, usable_cores
from agedetect_runtime.pipeline import Loaded, batches_ahead, stream
from tiny_detector import write_tiny_detector
from tiny_images import save_noise
from tiny_models import write_tiny_model

FACE = np.zeros((1, 1, 3), np.uint8)


def load(number: int) -> NDArray[np.uint8]:
    return FACE + number % 256


def answer(numbers: Sequence[int], loaded: Sequence[Loaded]) -> list[tuple[int, int | str]]:
    return [
        (number, face if isinstance(face, str) else int(face[0, 0, 0]))
        for number, face in zip(numbers, loaded, strict=True)
    ]


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "agedetect"]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    assert workers() == []
    yield
    # A thread that was given up is nobody's to join: once its image lets it go, it needs a moment to end.
    deadline = time.monotonic() + 5
    while workers() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert workers() == []


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("count", [0, 1, 5, 64, 100])
def test_every_source_gets_its_row_in_order_however_long_each_takes(threads: int, count: int) -> None:
    def uneven(number: int) -> NDArray[np.uint8]:
        time.sleep(0.002 * (number % 3))
        return load(number)

    rows = list(stream(range(count), uneven, answer, threads=threads, batch_size=5))
    assert rows == [(number, number) for number in range(count)]


def test_loading_and_running_overlap() -> None:
    """Each waits for the other: without overlap neither would go on, and the barrier would break."""
    both = threading.Barrier(2, timeout=10)

    def load_second(number: int) -> NDArray[np.uint8]:
        if number == 1:
            both.wait()
        return load(number)

    def answer_first(numbers: Sequence[int], loaded: Sequence[Loaded]) -> list[tuple[int, int | str]]:
        if numbers[0] == 0:
            both.wait()
        return answer(numbers, loaded)

    assert len(list(stream(range(2), load_second, answer_first, threads=2, batch_size=1))) == 2


def test_the_images_of_one_batch_are_loaded_side_by_side() -> None:
    both = threading.Barrier(2, timeout=10)

    def load_together(number: int) -> NDArray[np.uint8]:
        both.wait()
        return load(number)

    assert len(list(stream(range(2), load_together, answer, threads=2, batch_size=2))) == 2


def test_no_more_threads_run_than_were_asked_for() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def counted(number: int) -> NDArray[np.uint8]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.001)
        with lock:
            running -= 1
        return load(number)

    assert len(list(stream(range(100), counted, answer, threads=3, batch_size=4))) == 100
    assert 1 < most <= 3


def test_a_slow_reader_is_not_run_away_from() -> None:
    loaded: list[int] = []

    def noted(number: int) -> NDArray[np.uint8]:
        loaded.append(number)
        return load(number)

    rows = stream(iter(range(10_000)), noted, answer, threads=2, batch_size=4)
    next(rows)
    time.sleep(0.1)
    assert len(loaded) <= batches_ahead(2) * 4
    rows.close()


def test_rows_that_are_ready_wait_for_one_more_batch_of_a_slow_source_at_most() -> None:
    given, answered = 0, threading.Event()

    def slowly() -> Iterator[int]:
        nonlocal given
        for number in range(50):
            given += 1
            if number == 3:  # the second batch takes longer than the first one's rows
                answered.wait(60)
                time.sleep(0.2)
            yield number

    def noted(numbers: Sequence[int], loaded: Sequence[Loaded]) -> list[tuple[int, int | str]]:
        answered.set()
        return answer(numbers, loaded)

    rows = stream(slowly(), load, noted, threads=2, batch_size=2)
    next(rows)
    assert given <= 4  # the first batch, and the one that was being taken when it was ready
    rows.close()


def test_an_image_error_is_that_images_reason_and_batches_go_on() -> None:
    def odd_only(number: int) -> NDArray[np.uint8]:
        if number % 2 == 0:
            raise ImageError(f"even: {number}")
        return load(number)

    rows = list(stream(range(9), odd_only, answer, threads=2, batch_size=4))
    assert rows == [(number, number if number % 2 else f"even: {number}") for number in range(9)]


@pytest.mark.parametrize("at_fault", ["source", "load", "answer"])
def test_any_other_error_is_raised_after_the_rows_before_it(at_fault: str) -> None:
    def broken_sources() -> Iterator[int]:
        yield from range(20)
        raise ZeroDivisionError("source")

    def broken_load(number: int) -> NDArray[np.uint8]:
        if number == 20:
            raise ZeroDivisionError("load")
        return load(number)

    def broken_answer(numbers: Sequence[int], loaded: Sequence[Loaded]) -> list[tuple[int, int | str]]:
        if 20 in numbers:
            raise ZeroDivisionError("answer")
        return answer(numbers, loaded)

    rows = stream(
        broken_sources() if at_fault == "source" else range(100),
        broken_load if at_fault == "load" else load,
        broken_answer if at_fault == "answer" else answer,
        threads=2,
        batch_size=4,
    )
    seen: list[tuple[int, int | str]] = []
    with pytest.raises(ZeroDivisionError, match=at_fault):
        seen.extend(rows)
    assert [number for number, _ in seen] == list(range(20))


def test_closing_early_ends_the_threads_and_so_does_dropping() -> None:
    rows = stream(iter(range(10_000)), load, answer, threads=3, batch_size=4)
    assert next(rows) == (0, 0)
    rows.close()
    assert workers() == []
    for row in stream(iter(range(10_000)), load, answer, threads=3, batch_size=4):
        assert row == (0, 0)
        break
    assert workers() == []


def test_memory_is_for_what_is_ahead_and_not_for_what_is_behind() -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        assert sum(1 for _ in stream(map(str, range(count)), lambda _: FACE, label, threads=2, batch_size=8)) == count
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    def label(names: Sequence[str], loaded: Sequence[Loaded]) -> list[str]:
        return [f"{name} {len(face)}" for name, face in zip(names, loaded, strict=True)]

    few = peak(1_000)
    # A kept path or row would be 50 bytes or more for each of 19,000.
    assert peak(20_000) < few + 100_000


PEAK = """
import sys
from pathlib import Path
from typing import Any
from agedetect_runtime import AgeEstimator
model, image, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
estimator = AgeEstimator(model, device="cpu", threads=2)
assert sum(estimate.error is None for estimate in estimator.predict_many(image for _ in range(count))) == count
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def test_the_process_stays_as_small_for_many_images_as_for_few(tmp_path: Path) -> None:
    model, image = write_tiny_model(tmp_path / "age.onnx"), save_noise(tmp_path / "a.png", 1)

    def peak_kib(count: int) -> int:
        call = [sys.executable, "-c", PEAK, str(model), str(image), str(count)]
        return int(subprocess.run(call, capture_output=True, text=True, check=True).stdout)

    # A fifth is what the issue allows a million; 5,000 images that each kept their pixels would take 15 MB of 70.
    assert peak_kib(6_000) < 1.1 * peak_kib(1_000)


class Stuck(os.PathLike[str]):
    """A path that keeps whoever asks for it until `free` is set."""

    def __init__(self) -> None:
        self.free = threading.Event()

    def __fspath__(self) -> str:
        self.free.wait(60)
        return "none.jpg"


def test_an_image_that_takes_too_long_is_a_row_with_that_reason_and_the_others_go_on(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "age.onnx")
    good = save_noise(tmp_path / "good.png", 1)
    estimator = AgeEstimator(model, device="cpu", threads=2, batch_size=4, image_seconds=0.6)
    stuck = [Stuck() for _ in range(4)]  # more than there are threads, one of them the last of all
    sources = [good, stuck[0], stuck[1], good, stuck[2], *[good] * 20, stuck[3]]
    start = time.monotonic()
    estimates = list(estimator.predict_many(sources))
    assert time.monotonic() - start < 10
    for source, estimate in zip(sources, estimates, strict=True):
        assert estimate.source is source
        assert estimate.error == ("took longer than 0.6 s" if isinstance(source, Stuck) else None)
        assert (estimate.age is None) == isinstance(source, Stuck)
    for path in stuck:  # their threads end as soon as they come back
        path.free.set()


def test_a_thread_that_is_given_up_is_out_before_its_image_is_handed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or it might take another image, and nobody would watch that one."""
    inside: list[bool] = []
    hand_in = pipeline._Workers._hand_in

    def watched(workers: Any, worker: Any, loaded: Any) -> bool:
        if isinstance(loaded, str):
            inside.append(worker in workers._workers)
        return hand_in(workers, worker, loaded)

    monkeypatch.setattr(pipeline._Workers, "_hand_in", watched)
    free = threading.Event()

    def stuck(number: int) -> NDArray[np.uint8]:
        free.wait(60)
        return FACE

    rows = list(stream([1], stuck, lambda sources, loaded: list(loaded), threads=1, batch_size=1, image_seconds=0.1))
    free.set()
    assert (rows, inside) == (["took longer than 0.1 s"], [False])


STOPPED = """
import time
import numpy as np
from agedetect_runtime.pipeline import stream
def load(number):
    print(number, flush=True)
    time.sleep(0.4)
    return np.zeros((1, 1, 3), np.uint8)
def answer(sources, loaded):
    return [face for face in loaded if isinstance(face, str)]
print([*stream(range(8), load, answer, threads=2, batch_size=2, image_seconds=0.8)])
"""


def test_a_process_that_was_stopped_gives_up_no_image_for_it() -> None:
    with subprocess.Popen([sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(4):
            process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        process.send_signal(signal.SIGCONT)
        assert process.stdout.read().splitlines()[-1] == "[]"


HELD = """
import sys, threading, time
import numpy as np
from agedetect_runtime import AgeEstimator
class Stuck:
    def __fspath__(self):
        threading.Event().wait()
model, good, large, detector = sys.argv[1:]
estimator = AgeEstimator(model, device="cpu", threads=2, image_seconds=0.2, detector=detector)
def run_forever():
    faces = np.zeros((10_000, *[estimator.spec.image_size] * 2, 3), np.uint8)  # so many that other code takes no time
    while True:
        estimator.ages(faces)
"""


@pytest.mark.parametrize(
    "use",
    [
        "print([estimate.error for estimate in estimator.predict_many([Stuck()])])",
        "rows = estimator.predict_many([good] * 1000); next(rows); print(['took longer than 0.2 s'])",
        "print([finding.error for finding in estimator.find_many([large])])",
        "threading.Thread(target=run_forever, daemon=True).start(); time.sleep(0.5); print(['took longer than 0.2 s'])",
    ],
    ids=[
        "a stuck image",
        "rows that nobody asks for any more",
        "a photo that is still searched",
        "the caller's thread",
    ],
)
def test_the_process_can_always_end(tmp_path: Path, use: str) -> None:
    model, good = write_tiny_model(tmp_path / "age.onnx"), save_noise(tmp_path / "good.png", 1)
    large = save_noise(tmp_path / "large.png", 1, (1000, 750))
    detector = write_tiny_detector(tmp_path / "slow.onnx", (64, 64), slow=True)  # a run for each of 700 windows
    call = [sys.executable, "-c", HELD + use, *map(str, (model, good, large, detector))]
    done = subprocess.run(call, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "['took longer than 0.2 s']\n", "")


def test_a_containers_quota_counts_as_whole_cores() -> None:
    assert cores_of_quota("200000 100000\n") == 2
    assert cores_of_quota("150000 100000\n") == 2
    assert cores_of_quota("5000 100000\n") == 1
    with pytest.raises(ValueError, match="max"):
        cores_of_quota("max 100000\n")
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
