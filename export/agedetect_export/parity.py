"""Does the ONNX file give the ages that torch gives? On image files, through the path that users run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from agedetect_export.report import MIN_IMAGES, TOLERANCE_YEARS, BatchParity, ParityReport, Spread
from agedetect_runtime import AgedetectError, AgeEstimator, ImageError, ModelSpec
from agedetect_runtime.images import load_face

# One image, a few, and a number that leaves a smaller last batch.
BATCH_SIZES = (1, 2, 7)
# A network that answers the same for every face would agree with any other that does.
MIN_SPREAD_YEARS = 0.1

Years = NDArray[np.float64]


class ParityError(AgedetectError):
    """The ONNX file doesn't give the ages that the torch program gives."""


@dataclass(frozen=True)
class _Sample:
    paths: list[Path]
    faces: list[NDArray[np.uint8]]
    unreadable: list[str]


def compare(
    reference: torch.nn.Module,
    spec: ModelSpec,
    model_path: Path,
    faces: Sequence[Path],
    *,
    tolerance_years: float = TOLERANCE_YEARS,
    batch_sizes: Sequence[int] = BATCH_SIZES,
) -> ParityReport:
    """Compare `reference`, uint8 (B, S, S, 3) -> float32 (B,) years, with the ONNX file at `model_path`.

    The reference sees one image at a time, resized as `spec` says. The file is run by AgeEstimator on the
    image files, resized as its own metadata says, at each batch size: an answer that depends on the rest of
    the batch is a difference too. All failures are collected. Images that can't be read are reported and
    left out. Raises ModelError where the file isn't one that the runtime opens.
    """
    names = tuple(name for name in spec.outputs if name != "probabilities")
    sample = _read(faces, spec)
    wanted = _reference_ages(reference, sample.faces, len(names))
    failures = _sample_failures(sample, wanted)
    batches: list[BatchParity] = []
    differences: list[Years] = []
    estimator = AgeEstimator(model_path, device="cpu")
    for size in batch_sizes:
        estimator.batch_size = size
        ages, problems = _runtime_ages(estimator, sample.paths, names)
        difference = _difference(ages, wanted)
        problems += _tolerance_failures(difference, sample.paths, tolerance_years)
        failures += [f"batches of {size}: {problem}" for problem in problems]
        worst, mean = _worst_and_mean(difference)
        batches.append(BatchParity(batch_size=size, worst_years=worst, mean_years=mean))
        differences.append(difference)
    worst, mean = _worst_and_mean(np.concatenate(differences))
    return ParityReport(
        images=len(sample.paths),
        distinct=_count_distinct(sample.faces),
        tolerance_years=tolerance_years,
        worst_years=worst,
        worst_image=_worst_image(differences, sample.paths),
        mean_years=mean,
        batches=tuple(batches),
        reference=_spread(wanted),
        unreadable=tuple(sample.unreadable),
        failures=tuple(failures),
    )


def _read(paths: Sequence[Path], spec: ModelSpec) -> _Sample:
    sample = _Sample([], [], [])
    for path in paths:
        try:
            face = load_face(path, spec.image_size, spec.resampling)
        except ImageError as error:
            sample.unreadable.append(f"{path.name}: {error}")
        else:
            sample.paths.append(path)
            sample.faces.append(face)
    return sample


def _reference_ages(program: torch.nn.Module, faces: Sequence[NDArray[np.uint8]], outputs: int) -> Years:
    """(n, outputs) years: age, and low and high where the program gives them."""
    rows = []
    with torch.inference_mode():
        for face in faces:
            answer = program(torch.from_numpy(face)[None])
            values = answer[:outputs] if isinstance(answer, tuple) else (answer,)
            rows.append([float(value[0]) for value in values])
    return np.array(rows, np.float64).reshape(len(faces), outputs)


def _runtime_ages(estimator: AgeEstimator, paths: Sequence[Path], names: Sequence[str]) -> tuple[Years, list[str]]:
    """(n, outputs) years, NaN where there is no number, and what went wrong."""
    try:
        estimates = list(estimator.predict_many(paths))
    except AgedetectError as error:
        return np.full((len(paths), len(names)), np.nan), [str(error)]
    rows = [[getattr(estimate, name) for name in names] for estimate in estimates]
    ages = np.array(rows, np.float64).reshape(len(paths), len(names))  # None becomes NaN
    missing = [
        f"{path.name}: {item.error}" for path, item in zip(paths, estimates, strict=True) if item.error is not None
    ]
    return ages, [f"{len(missing)} images got no age, first {missing[0]}"] if missing else []


def _sample_failures(sample: _Sample, wanted: Years) -> list[str]:
    failures = []
    distinct = _count_distinct(sample.faces)
    if distinct < MIN_IMAGES:
        failures.append(f"only {distinct} distinct readable images, at least {MIN_IMAGES} are needed")
    strange = np.flatnonzero(~np.isfinite(wanted).all(axis=1))
    if strange.size:
        first = sample.paths[strange[0]].name
        failures.append(f"the torch program gave NaN or infinity for {strange.size} images, first {first}")
    spread = _spread(wanted)
    if spread is not None and spread.deviation_years < MIN_SPREAD_YEARS:
        failures.append(
            "nothing was compared: the torch program gives nearly one age for all images, standard deviation "
            f"{spread.deviation_years:.2g} years; at least {MIN_SPREAD_YEARS} is needed"
        )
    return failures


def _tolerance_failures(difference: Years, paths: Sequence[Path], tolerance_years: float) -> list[str]:
    over = int((difference > tolerance_years).sum())
    if not over:
        return []
    worst = float(np.nanmax(difference))
    name = _worst_image([difference], paths)
    limit = f"{tolerance_years:g} years"
    return [f"{over} of {len(paths)} images differ by more than {limit}, worst {worst:.2g} ({name})"]


def _difference(ages: Years, wanted: Years) -> Years:
    """(n,) years, the largest over the outputs; NaN where either side has no finite number."""
    finite = np.isfinite(ages) & np.isfinite(wanted)
    difference: Years = np.abs(np.where(finite, ages, np.nan) - np.where(finite, wanted, np.nan)).max(axis=1)
    return difference


def _worst_and_mean(difference: Years) -> tuple[float | None, float | None]:
    known = difference[np.isfinite(difference)]
    return (float(known.max()), float(known.mean())) if known.size else (None, None)


def _worst_image(differences: Sequence[Years], paths: Sequence[Path]) -> str | None:
    every = np.stack(differences)
    if not np.isfinite(every).any():
        return None
    return paths[int(np.nanargmax(every)) % len(paths)].name


def _spread(wanted: Years) -> Spread | None:
    ages = wanted[:, 0][np.isfinite(wanted[:, 0])]
    if not ages.size:
        return None
    return Spread(
        mean_years=float(ages.mean()),
        deviation_years=float(ages.std()),
        lowest_years=float(ages.min()),
        highest_years=float(ages.max()),
    )


def _count_distinct(faces: Sequence[NDArray[np.uint8]]) -> int:
    return len({hashlib.sha256(face.tobytes()).digest() for face in faces})
