"""Predictions -> metrics, over images and never over batches."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Metrics:
    """Errors in years (`mse` in years squared); `within_5` and `within_10` are shares of the images, 0 to 1."""

    mae: float
    mse: float
    rmse: float
    r2: float
    within_5: float
    within_10: float

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


def measure(true: ArrayLike, predicted: ArrayLike) -> Metrics:
    """Ages in years, (N,) and (N,). R2 compares with always predicting the mean of `true`; nan if all are one age."""
    ages, estimates = np.asarray(true, np.float64), np.asarray(predicted, np.float64)
    if ages.shape != estimates.shape or ages.ndim != 1 or not len(ages):
        raise ValueError(f"ages {ages.shape} and predictions {estimates.shape} must be two equal, non-empty rows")
    error = np.abs(estimates - ages)
    mse = float(np.mean(error**2))
    variance = float(np.var(ages))
    return Metrics(
        mae=float(np.mean(error)),
        mse=mse,
        rmse=mse**0.5,
        r2=1 - mse / variance if variance else float("nan"),
        within_5=float(np.mean(error <= 5)),
        within_10=float(np.mean(error <= 10)),
    )
