"""From the start of the process to the first age: where the milliseconds go."""

from __future__ import annotations

import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks.rates import table

_STEPS = ("start Python", "import", "open the model", "decode", "run", "all, in Python", "all, with agedetect-infer")

# Prints the clock after each step; CLOCK_MONOTONIC is the same for parent and child.
_CHILD = """
import sys, time
clock = [time.monotonic()]
import agedetect_runtime.estimator, onnxruntime
clock.append(time.monotonic())
estimator = agedetect_runtime.estimator.AgeEstimator(sys.argv[1], device="cpu")
clock.append(time.monotonic())
face = agedetect_runtime.images.load_face(sys.argv[2], estimator.spec.image_size, estimator.spec.resampling)
clock.append(time.monotonic())
estimator.ages(face[None])  # like `predict`, it opens a second session
clock.append(time.monotonic())
print(*clock)
"""
_COMMAND = "from agedetect_runtime.cli import main; main()"


def report(model: Path, image: str, times: int) -> str:
    """The median of so many starts, on a warm disk."""
    starts = [_start(model, image) for _ in range(times + 1)][1:]
    rows = [
        [step, f"{1000 * median(column):.0f}"] for step, column in zip(_STEPS, zip(*starts, strict=True), strict=True)
    ]
    return table(["step", "milliseconds"], rows)


def _start(model: Path, image: str) -> list[float]:
    """Seconds of each step."""
    begin = time.monotonic()
    call = [sys.executable, "-c", _CHILD, str(model), image]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    clock = [begin, *map(float, done.stdout.split())]
    command = [sys.executable, "-c", _COMMAND, image, "--onnx", str(model), "--device", "cpu"]
    start = time.monotonic()
    subprocess.run(command, capture_output=True, check=True)
    steps = [after - before for before, after in pairwise(clock)]
    return [*steps, clock[-1] - begin, time.monotonic() - start]
