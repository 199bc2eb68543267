"""What a smaller precision costs: both files on the validation faces, through the runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agedetect_export.precision import Differences, PrecisionReport
from agedetect_export.report import MIN_IMAGES
from agedetect_runtime import AgeEstimator, ImageError
from agedetect_runtime.images import load_face

_BATCH = 32
_OTHER_BATCHES = (1, 7)
_PROBED = 64
# Batch size changes the order of float32 sums in the layers that stay in float, nothing else: parity's tolerance.
_BATCH_TOLERANCE_YEARS = 1e-3

Years = NDArray[np.float64]
Faces = NDArray[np.uint8]


def judge(exact: Path, reduced: Path, faces: Sequence[tuple[Path, float]], *, budget_years: float) -> PrecisionReport:
    """Compare the files `exact` and `reduced` on `faces` (path, age in years). All failures are collected."""
    before, after = AgeEstimator(exact, device="cpu"), AgeEstimator(reduced, device="cpu")
    wanted, found, true, unreadable = _answers(before, after, faces)
    failures = []
    if len(true) < MIN_IMAGES:
        failures.append(f"only {len(true)} validation faces could be read, at least {MIN_IMAGES} are needed")
    strange = int((~np.isfinite(found).all(axis=1)).sum())
    if strange:
        failures.append(f"{strange} of {len(true)} answers are no numbers")
    change = np.abs(found[:, 0] - true) - np.abs(wanted[:, 0] - true)
    cost = float(change.mean()) if not strange and len(true) else None
    if cost is not None and not cost <= budget_years:
        failures.append(
            f"it costs {cost:.3f} years of MAE on {len(true)} validation faces, the budget is {budget_years:g}"
        )
    failures += _batch_failures(after, faces)
    return PrecisionReport(
        precision=after.spec.precision,
        images=len(true),
        unreadable=unreadable,
        budget_years=budget_years,
        float32_mae_years=_mean(np.abs(wanted[:, 0] - true)),
        mae_years=None if strange else _mean(np.abs(found[:, 0] - true)),
        cost_years=cost,
        cost_error_years=None if cost is None else float(change.std() / np.sqrt(len(change))),
        differences=None if strange or not len(true) else _distribution(np.abs(found[:, 0] - wanted[:, 0])),
        promised_coverage=after.spec.coverage,
        float32_coverage=_coverage(wanted, true),
        coverage=_coverage(found, true),
        failures=tuple(failures),
    )


def _answers(
    before: AgeEstimator, after: AgeEstimator, faces: Sequence[tuple[Path, float]]
) -> tuple[Years, Years, Years, int]:
    """(n, outputs) of both files, (n,) true ages, and how many faces could not be read."""
    columns = 1 if after.spec.coverage is None else 3
    wanted, found, true = [np.empty((0, columns))], [np.empty((0, columns))], []
    for start in range(0, len(faces), _BATCH):
        read = _read(faces[start : start + _BATCH], after)
        if read:
            batch = np.stack([face for face, _ in read])
            wanted.append(_years(before, batch, columns))
            found.append(_years(after, batch, columns))
            true += [age for _, age in read]
    return np.concatenate(wanted), np.concatenate(found), np.array(true, np.float64), len(faces) - len(true)


def _read(faces: Sequence[tuple[Path, float]], estimator: AgeEstimator) -> list[tuple[Faces, float]]:
    read = []
    for path, age in faces:
        try:
            read.append((load_face(path, estimator.spec.image_size, estimator.spec.resampling), age))
        except ImageError:
            continue  # counted
    return read


def _years(estimator: AgeEstimator, batch: Faces, columns: int) -> Years:
    return np.stack([np.asarray(column) for column in estimator.ages(batch)[:columns]], axis=1).astype(np.float64)


def _batch_failures(estimator: AgeEstimator, faces: Sequence[tuple[Path, float]]) -> list[str]:
    read = _read(faces[:_PROBED], estimator)
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


def _distribution(difference: Years) -> Differences:
    median, p90, p99 = np.quantile(difference, [0.5, 0.9, 0.99])
    return Differences(
        mean_years=float(difference.mean()),
        median_years=float(median),
        p90_years=float(p90),
        p99_years=float(p99),
        worst_years=float(difference.max()),
    )


def _coverage(answers: Years, true: Years) -> float | None:
    if answers.shape[1] != 3 or not len(true):
        return None
    return float(((answers[:, 1] <= true) & (true <= answers[:, 2])).mean())


def _mean(values: Years) -> float | None:
    return float(values.mean()) if values.size else None
