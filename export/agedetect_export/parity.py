"""Does the ONNX file give the ages that torch gives? On image files, through the path that users run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from agedetect_export.report import (
    MIN_IMAGES,
    PROBABILITY_TOLERANCE,
    TOLERANCE_YEARS,
    BatchParity,
    ParityReport,
    Spread,
)
from agedetect_runtime import AgedetectError, AgeEstimator, ImageError, ModelSpec
from agedetect_runtime.images import load_face

# One image, a few, and a number that leaves a smaller last batch.
BATCH_SIZES = (1, 2, 7)
# Two constant networks would agree whatever their weights.
MIN_SPREAD_YEARS = 0.1

Years = NDArray[np.float64]
Probabilities = NDArray[np.float64]


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
    image files, resized as its own metadata says, at each batch size: an age that depends on the rest of
    the batch is a difference too. All failures are collected. Images that can't be read are reported and
    omitted. Raises ModelError where the file isn't one that the runtime opens.
    """
    names = tuple(name for name in spec.outputs if name != "probabilities")
    sample = _read(faces, spec)
    wanted, wanted_bins = _reference_answers(reference, sample.faces, spec)
    failures = _sample_failures(sample, wanted)
    batches: list[BatchParity] = []
    differences: list[Years] = []
    estimator = AgeEstimator(model_path, device="cpu")
    for size in batch_sizes:
        estimator.batch_size = size
        ages, problems = _runtime_ages(estimator, sample.paths, names)
        difference = _difference(ages, wanted)
        problems += _tolerance_failures(difference, sample.paths, tolerance_years)
        problems += _interval_failures(ages, sample.paths)
        bins = None if wanted_bins is None else _runtime_probabilities(estimator, sample.paths)
        worst_bin = _worst_probability(bins, wanted_bins)
        problems += _probability_failures(worst_bin)
        failures += [f"batches of {size}: {problem}" for problem in problems]
        worst, mean = _worst_and_mean(difference)
        batches.append(BatchParity(batch_size=size, worst_years=worst, mean_years=mean, worst_probability=worst_bin))
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
        worst_probability=max((b.worst_probability for b in batches if b.worst_probability is not None), default=None),
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


def _reference_answers(
    program: torch.nn.Module, faces: Sequence[NDArray[np.uint8]], spec: ModelSpec
) -> tuple[Years, Probabilities | None]:
    """(n, outputs) years: age, and low and high where the program gives them; (n, K) probabilities, or None."""
    rows = []
    with torch.inference_mode():
        for face in faces:
            output = program(torch.from_numpy(face)[None])
            values = output if isinstance(output, tuple) else (output,)
            rows.append([value[0].double().numpy() for value in values])
    outputs = len(spec.outputs) - (spec.head == "distribution")
    years = np.array([row[:outputs] for row in rows], np.float64).reshape(len(faces), outputs)
    if spec.head != "distribution":
        return years, None
    return years, np.array([row[outputs] for row in rows], np.float64).reshape(len(faces), spec.bins)


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


def _runtime_probabilities(estimator: AgeEstimator, paths: Sequence[Path]) -> Probabilities | None:
    """(n, K), of the images as the file's own metadata resizes them; None where the run failed, as it did for ages."""
    spec, size = estimator.spec, estimator.batch_size
    rows = []
    for start in range(0, len(paths), size):
        faces = [load_face(path, spec.image_size, spec.resampling) for path in paths[start : start + size]]
        try:
            rows.append(np.asarray(estimator.ages(np.stack(faces), probabilities=True).probabilities, np.float64))
        except AgedetectError:
            return None
    return np.concatenate(rows) if rows else None


def _worst_probability(found: Probabilities | None, wanted: Probabilities | None) -> float | None:
    """The largest difference of any bin; 1 where either has none or no number."""
    if wanted is None or not wanted.size:
        return None
    if found is None or found.shape != wanted.shape:
        return 1.0
    difference = np.abs(found - wanted)
    return float(np.where(np.isfinite(difference), difference, 1.0).max())


def _probability_failures(worst: float | None) -> list[str]:
    if worst is None or worst <= PROBABILITY_TOLERANCE:
        return []
    return [f"probabilities differ by up to {worst:.2g}, more than {PROBABILITY_TOLERANCE:g}"]


def _interval_failures(ages: Years, paths: Sequence[Path]) -> list[str]:
    """low <= age <= high, for the rows that are numbers."""
    if ages.shape[1] != 3:
        return []
    age, low, high = ages.T
    odd = np.flatnonzero((low > age) | (age > high))
    if not odd.size:
        return []
    first = odd[0]
    years = f"{low[first]:.2f}, {age[first]:.2f}, {high[first]:.2f}"
    return [f"low <= age <= high is broken for {odd.size} images, first {paths[first].name}: {years}"]


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
    if spread is not None and spread.std_years < MIN_SPREAD_YEARS:
        failures.append(
            "nothing was compared: the torch program gives nearly one age for all images, standard deviation "
            f"{spread.std_years:.2g} years; at least {MIN_SPREAD_YEARS} is needed"
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
    """(n,) years, the largest over the outputs; NaN where either has no finite number."""
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
        std_years=float(ages.std()),
        lowest_years=float(ages.min()),
        highest_years=float(ages.max()),
    )


def _count_distinct(faces: Sequence[NDArray[np.uint8]]) -> int:
    return len({hashlib.sha256(face.tobytes()).digest() for face in faces})
