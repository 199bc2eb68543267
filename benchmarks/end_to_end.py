"""Files to ages, against the two things that it can't be faster than: decoding alone, and the model alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from agedetect_runtime import AgeEstimator
from agedetect_runtime.images import load_face
from agedetect_runtime.session import open_session
from benchmarks.rates import in_turns, on_threads, table

_IN_MEMORY = 256  # faces held as batches, 12 MB at 128 px


def report(model: Path, paths: Sequence[str], rounds: int) -> str:
    """The rates on these files and what they are of one another, as a table."""
    estimator = AgeEstimator(model, device="cpu")
    size, resampling, cores = estimator.spec.image_size, estimator.spec.resampling, estimator.threads
    share = paths[: max(1, len(paths) // rounds)]
    faces = np.stack([load_face(path, size, resampling) for path in share[:_IN_MEMORY]])
    batches = [faces[start : start + estimator.batch_size] for start in range(0, len(faces), estimator.batch_size)]
    usual = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    ours = open_session(model, device="cpu")

    def decode(share: Sequence[str]) -> int:
        return sum(len(load_face(path, size, resampling)) > 0 for path in share)

    def run_ours(share: Sequence[str]) -> int:
        return _run(lambda batch: ours.run(batch), batches, len(share))

    rates = in_turns(
        {
            "decoding alone, all cores": lambda: on_threads(decode, share, cores),
            "session as opened by default": lambda: _run(
                lambda batch: usual.run(None, {"faces": batch}), batches, len(share)
            ),
            "session, a run on each core": lambda: on_threads(run_ours, share, cores),
            "files to ages": lambda: sum(1 for _ in estimator.predict_many(share)),
        },
        rounds,
    )
    return _table(rates)


def _run(run: Callable[[NDArray[np.uint8]], object], batches: Sequence[NDArray[np.uint8]], count: int) -> int:
    images = 0
    for batch in cycle(batches):
        run(batch)
        images += len(batch)
        if images >= count:
            break
    return images


def _table(rates: dict[str, float]) -> str:
    decoding, usual, ours, ages = rates.values()
    both = 1 / (1 / decoding + 1 / ours)  # a core that decodes doesn't run the model: no loop can pass this
    limits = {**dict(list(rates.items())[:3]), "decoding and session on the same cores": both}
    rows = [["files to ages", f"{ages:.1f}", ""]]
    rows += [[name, f"{rate:.1f}", f"{ages / rate:.0%}"] for name, rate in limits.items()]
    rows.append(["**the lower of decoding and the default session**", "", f"**{ages / min(decoding, usual):.0%}**"])
    return table(["", "images/s", "files to ages, of it"], rows)
