"""What the pipeline's defaults were chosen by: the batch, threads or processes for decoding, how a session waits."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime

from agedetect_runtime import AgeEstimator
from agedetect_runtime.cores import usable_cores
from agedetect_runtime.images import load_face
from benchmarks.rates import Contender, in_turns, on_threads, table

_BATCHES = (1, 4, 8, 16, 32, 64)
_CHUNK = 32  # faces that a decoding process sends back at once


def report(model: Path, paths: Sequence[str], rounds: int) -> str:
    """Three tables: batches end to end, who decodes, and how a session's threads wait."""
    share = paths[: max(1, len(paths) // rounds)]
    return "\n".join((_batches(model, share, rounds), _decoders(model, share, rounds), _sessions(model, share, rounds)))


def _batches(model: Path, paths: Sequence[str], rounds: int) -> str:
    def ages(estimator: AgeEstimator) -> int:
        return sum(1 for _ in estimator.predict_many(paths))

    estimators = {size: AgeEstimator(model, device="cpu", batch_size=size) for size in _BATCHES}
    contenders = {f"batches of {size}": partial(ages, estimator) for size, estimator in estimators.items()}
    return _rates("files to ages", contenders, rounds)


def _decoders(model: Path, paths: Sequence[str], rounds: int) -> str:
    spec, cores = AgeEstimator(model, device="cpu").spec, usable_cores()
    decode = partial(_decode, size=spec.image_size, resampling=spec.resampling)
    with ProcessPoolExecutor(cores, mp_context=multiprocessing.get_context("spawn")) as pool:
        contenders: dict[str, Contender] = {
            "one thread": lambda: len(decode(paths)),
            f"{cores} threads": lambda: on_threads(lambda share: len(decode(share)), paths, cores),
            f"{cores} processes, faces sent back": lambda: sum(
                map(len, pool.map(decode, [paths[at : at + _CHUNK] for at in range(0, len(paths), _CHUNK)]))
            ),
        }
        return _rates("decoding", contenders, rounds)


def _decode(paths: Sequence[str], size: int, resampling: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.stack([load_face(path, size, resampling) for path in paths])


def _sessions(model: Path, paths: Sequence[str], rounds: int) -> str:
    """Runs at once x threads of each x spinning, while nothing decodes."""
    estimator, cores = AgeEstimator(model, device="cpu"), usable_cores()
    faces = _decode(paths[:8], estimator.spec.image_size, estimator.spec.resampling)
    contenders: dict[str, Contender] = {}
    for at_once, threads, spinning, batch in (
        (cores, 1, "0", 8),
        (1, cores, "0", 8),
        (1, cores, "1", 8),
        (cores, cores, "0", 8),
        (cores, cores, "1", 8),
        (1, 1, "0", 1),
        (1, cores, "0", 1),
        (1, cores, "1", 1),
    ):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        name = f"{at_once} x batches of {batch} on {threads} threads, {'spinning' if spinning == '1' else 'sleeping'}"
        contenders[name] = partial(on_threads, partial(_run, session, faces[:batch]), paths, at_once)
    return _rates("session alone", contenders, rounds)


def _run(
    session: onnxruntime.InferenceSession, faces: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], paths: Sequence[str]
) -> int:
    runs = -(-len(paths) // len(faces))
    for _ in range(runs):
        session.run(None, {"faces": faces})
    return runs * len(faces)


def _rates(heading: str, contenders: Mapping[str, Contender], rounds: int) -> str:
    rates = in_turns(contenders, rounds)
    return table([heading, "images/s"], [[name, f"{rate:.1f}"] for name, rate in rates.items()])
