"""The accuracy check of an int8 file: it and the float32 file on the same validation faces, through the runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agedetect_export.precision import Cost, Differences, PrecisionReport
from agedetect_export.report import MIN_IMAGES
from agedetect_runtime import AgeEstimator, ImageError
from agedetect_runtime.images import load_face

_BATCH = 32
_OTHER_BATCHES = (1, 7)
_BATCH_FACES = 64
# Batch size changes the order of float32 sums in the layers that stay in float, nothing else: parity's tolerance.
_BATCH_TOLERANCE_YEARS = 1e-3
_Z = 1.96  # of a two-sided 95% interval

Years = NDArray[np.float64]
Faces = NDArray[np.uint8]


def check_accuracy(
    float32: Path, compressed: Path, faces: Sequence[tuple[Path, float]], *, budget_years: float
) -> PrecisionReport:
    """Compare two ONNX files on `faces` (path, age in years). All failures are collected in the report."""
    before, after = AgeEstimator(float32, device="cpu"), AgeEstimator(compressed, device="cpu")
    wanted, found, true = _predict(before, after, faces)
    errors_before, errors_after = np.abs(wanted[:, 0] - true), np.abs(found[:, 0] - true)
    not_finite = int((~np.isfinite(found).all(axis=1)).sum())
    enough = len(true) >= MIN_IMAGES
    cost = paired_cost(errors_after - errors_before) if enough and not not_finite else None
    failures = []
    if not enough:
        failures.append(f"only {len(true)} validation faces could be read, at least {MIN_IMAGES} are needed")
    if not_finite:
        failures.append(f"{not_finite} of {len(true)} predictions are not finite numbers")
    if cost is not None and not cost.high_years <= budget_years:
        failures.append(_over_budget(cost, len(true), budget_years))
    failures += _batch_failures(after, faces)
    return PrecisionReport(
        precision=after.spec.precision,
        images=len(true),
        unreadable=len(faces) - len(true),
        budget_years=budget_years,
        float32_mae_years=_mean(errors_before),
        mae_years=None if not_finite else _mean(errors_after),
        cost=cost,
        differences=None if not_finite or not len(true) else _quantiles(np.abs(found[:, 0] - wanted[:, 0])),
        nominal_coverage=after.spec.coverage,
        float32_coverage=_coverage(wanted, true),
        coverage=_coverage(found, true),
        failures=tuple(failures),
    )


def paired_cost(change: Years) -> Cost:
    """(n,) changes of a face's absolute error -> their mean, and 1.96 standard errors to each side of it."""
    margin = _Z * change.std(ddof=1) / np.sqrt(len(change))
    mean = change.mean()
    return Cost(mean_years=float(mean), low_years=float(mean - margin), high_years=float(mean + margin))


def _over_budget(cost: Cost, images: int, budget_years: float) -> str:
    return (
        f"it costs {cost} years of MAE on {images} validation faces, and the upper end of that interval is over the "
        f"budget of {budget_years:g}; export float32, or allow more with --mae-budget-years"
    )


def _predict(
    before: AgeEstimator, after: AgeEstimator, faces: Sequence[tuple[Path, float]]
) -> tuple[Years, Years, Years]:
    """(n, outputs) years of both files and (n,) true ages, of the n faces that can be read."""
    columns = 1 if after.spec.coverage is None else 3
    wanted, found, true = [np.empty((0, columns))], [np.empty((0, columns))], []
    for start in range(0, len(faces), _BATCH):
        read = _read(faces[start : start + _BATCH], after)
        if read:
            batch = np.stack([face for face, _ in read])
            wanted.append(_years(before, batch, columns))
            found.append(_years(after, batch, columns))
            true += [age for _, age in read]
    return np.concatenate(wanted), np.concatenate(found), np.array(true, np.float64)


def _read(faces: Sequence[tuple[Path, float]], estimator: AgeEstimator) -> list[tuple[Faces, float]]:
    read = []
    for path, age in faces:
        try:
            read.append((load_face(path, estimator.spec.image_size, estimator.spec.resampling), age))
        except ImageError:
            continue  # counted in the report
    return read


def _years(estimator: AgeEstimator, batch: Faces, columns: int) -> Years:
    return np.stack([np.asarray(column) for column in estimator.ages(batch)[:columns]], axis=1).astype(np.float64)


def _batch_failures(estimator: AgeEstimator, faces: Sequence[tuple[Path, float]]) -> list[str]:
    read = _read(faces[:_BATCH_FACES], estimator)
    if not read:
        return []
    batch = np.stack([face for face, _ in read])
    whole = estimator.ages(batch).age
    failures = []
    for size in _OTHER_BATCHES:
        parts = [estimator.ages(batch[start : start + size]).age for start in range(0, len(batch), size)]
        worst = float(np.abs(np.concatenate(parts) - whole).max())
        if not worst <= _BATCH_TOLERANCE_YEARS:
            failures.append(f"batches of {size} give other ages, by up to {worst:.2g} years")
    return failures


def _quantiles(difference: Years) -> Differences:
    median, p90, p99 = np.quantile(difference, [0.5, 0.9, 0.99])
    return Differences(
        mean_years=float(difference.mean()),
        median_years=float(median),
        p90_years=float(p90),
        p99_years=float(p99),
        worst_years=float(difference.max()),
    )


def _coverage(predicted: Years, true: Years) -> float | None:
    if predicted.shape[1] != 3 or not len(true):
        return None
    return float(((predicted[:, 1] <= true) & (true <= predicted[:, 2])).mean())


def _mean(values: Years) -> float | None:
    return float(values.mean()) if values.size else None
