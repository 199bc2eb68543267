"""A model, registered or exported, asked about labelled faces through the one preprocessing there is.

The one module of this package that looks into the exporter's: its registry knows how to load a model safely.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agedetect.data.faces import Face
from agedetect.errors import DataError
from agedetect.evaluation.predictions import Predictions
from agedetect_runtime import AgeEstimator, ImageError, ModelError, ModelSpec
from agedetect_runtime.images import load_face

BATCH = 32

Batch = NDArray[np.uint8]
Table = NDArray[np.float64]


@dataclass(frozen=True)
class Predictor:
    """`ask`: faces, uint8 (B, S, S, 3) -> float64 (B, C), the columns of `spec.outputs` side by side."""

    name: str
    spec: ModelSpec
    ask: Callable[[Batch], Table]


def open_predictor(model: str) -> Predictor:
    """Open an .onnx file, or what agedetect-export takes: models:/..., runs:/... or an MLflow model folder.

    Raises AgedetectError where it can't be opened; nothing is unpickled.
    """
    return _exported(model) if model.lower().endswith(".onnx") else _registered(model)


def predict(
    predictor: Predictor,
    faces: Sequence[Face],
    *,
    flip_average: bool = False,
    done: Callable[[int], object] = lambda count: None,
) -> Predictions:
    """What the model says about each face; `done` hears of each batch.

    With `flip_average` every answer is the mean over the face and its mirror image. Raises DataError for an image
    that can't be read any more, ModelError for an answer that is no number.
    """
    spec = predictor.spec
    tables = []
    for batch in _batches(faces, spec):
        table = predictor.ask(batch)
        if flip_average:
            table = (table + predictor.ask(np.ascontiguousarray(batch[:, :, ::-1]))) / 2
        tables.append(table)
        done(len(batch))
    answers = np.concatenate(tables)
    if len(wrong := np.flatnonzero(~np.isfinite(answers).all(axis=1))):
        raise ModelError(f"{predictor.name}: its answer for {faces[wrong[0]].path} is not a number")
    years = ("age", "low", "high")
    columns = {name: answers[:, index] for index, name in enumerate(spec.outputs) if name in years}
    chances = answers[:, len(columns) :] if "probabilities" in spec.outputs else None
    return Predictions.of(faces, columns["age"], columns.get("low"), columns.get("high"), chances, min_age=spec.min_age)


def _exported(model: str) -> Predictor:
    estimator = AgeEstimator(model)
    wanted = estimator.spec.head == "distribution"

    def ask(faces: Batch) -> Table:
        answers = estimator.ages(faces, probabilities=wanted)
        return _table(column for column in answers if column is not None)

    return Predictor(Path(model).name, estimator.spec, ask)


def _registered(model: str) -> Predictor:
    import torch

    from agedetect_export.registry import load_source

    source = load_source(model)

    @torch.no_grad()
    def ask(faces: Batch) -> Table:
        answers = source.program(torch.from_numpy(faces))
        return _table([answers.numpy()] if isinstance(answers, torch.Tensor) else [item.numpy() for item in answers])

    folder = Path(model)  # a report names no folder of the machine
    return Predictor(folder.name if folder.is_dir() else source.label, source.spec, ask)


def _table(columns: Iterator[NDArray[np.float32]] | Sequence[NDArray[np.float32]]) -> Table:
    return np.concatenate([column.reshape(len(column), -1) for column in columns], axis=1).astype(np.float64)


def _batches(faces: Sequence[Face], spec: ModelSpec) -> Iterator[Batch]:
    """Batches in order; the next one is decoded while the model works on this one."""

    def load(batch: Sequence[Face]) -> Batch:
        return np.stack([_load(face, spec) for face in batch])

    starts = range(0, len(faces), BATCH)
    with ThreadPoolExecutor(1) as pool:
        loading = [pool.submit(load, faces[:BATCH])]
        for start in chain(starts[1:], [None]):
            if start is not None:
                loading.append(pool.submit(load, faces[start : start + BATCH]))
            yield loading.pop(0).result()


def _load(face: Face, spec: ModelSpec) -> Batch:
    try:
        return load_face(face.path, spec.image_size, spec.resampling)
    except ImageError as error:
        raise DataError(f"{face.path}: {error}; it could be read a moment ago") from error
