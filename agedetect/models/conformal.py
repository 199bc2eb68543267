"""Intervals that hold the true age with a nominal coverage: split conformal prediction on the validation faces.

Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World", 2005; the widths scale with the difficulty of
each face, as in Papadopoulos, Gammerman & Vovk, 2008, and Lei et al., JASA 2018, section 5.2: by the model's own
quantiles where it gives a distribution, else by the mean error of faces of about that predicted age.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agedetect_runtime.spec import MAX_AGE, MIN_AGE

MIN_HALF_WIDTH_YEARS = 0.5  # a distribution of one bin is no certainty: labels are whole years
_KNOT_YEARS = 10.0
_FEWEST_IN_BIN = 20


class ConformalLayer(nn.Module):
    """(age (B,), probabilities (B, K) or None) -> low (B,) and high (B,), years, within the age range.

    The plain half widths below and above the age, times `scale`, which `calibrate` found.
    """

    scale: Tensor

    def __init__(self, coverage: float) -> None:
        super().__init__()
        self.coverage = coverage
        self.register_buffer("scale", torch.ones(()))

    def forward(self, age: Tensor, probabilities: Tensor | None) -> tuple[Tensor, Tensor]:
        below, above = self.half_widths(age, probabilities)
        return (age - self.scale * below).clamp(min=MIN_AGE), (age + self.scale * above).clamp(max=MAX_AGE)

    def half_widths(self, age: Tensor, probabilities: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B,) and (B,), years: how far below and above the age, before calibration."""
        raise TypeError(f"{type(self).__name__} has no widths")

    @torch.no_grad()
    def calibrate(self, age: Tensor, probabilities: Tensor | None, true: Tensor) -> None:
        """Set `scale` so that a share `coverage` of faces exchangeable with these, (N,), fall inside."""
        below, above = self.half_widths(age, probabilities)
        scores = torch.maximum((age - true) / below, (true - age) / above)
        self.scale.fill_(conformal_quantile(scores.double().cpu().numpy(), self.coverage))


class QuantileLayer(ConformalLayer):
    """Widths from the distribution's own quantiles at (1 - coverage) / 2 and (1 + coverage) / 2."""

    def half_widths(self, age: Tensor, probabilities: Tensor | None) -> tuple[Tensor, Tensor]:
        if probabilities is None:
            raise TypeError("a QuantileLayer needs probabilities")
        tail = (1 - self.coverage) / 2
        below, above = age - quantile(probabilities, tail), quantile(probabilities, 1 - tail) - age
        return below.clamp(min=MIN_HALF_WIDTH_YEARS), above.clamp(min=MIN_HALF_WIDTH_YEARS)


class DifficultyLayer(ConformalLayer):
    """Widths from the mean absolute error about the predicted age, linear between `knots`, in years."""

    knots: Tensor
    errors: Tensor

    def __init__(self, coverage: float, knots: NDArray[np.float64], errors: NDArray[np.float64]) -> None:
        super().__init__(coverage)
        self.register_buffer("knots", torch.tensor(knots, dtype=torch.float32))
        self.register_buffer("errors", torch.tensor(errors, dtype=torch.float32))

    def half_widths(self, age: Tensor, probabilities: Tensor | None) -> tuple[Tensor, Tensor]:
        share = (age[:, None] - self.knots[:-1]) / (self.knots[1:] - self.knots[:-1])
        width = self.errors[0] + (share.clamp(0, 1) * (self.errors[1:] - self.errors[:-1])).sum(dim=1)
        return width, width


def fit_conformal(age: Tensor, probabilities: Tensor | None, true: Tensor, coverage: float) -> ConformalLayer:
    """A layer calibrated on N faces that did not train: ages (N,), probabilities (N, K) or None, true ages (N,).

    For a scalar head every second face estimates the difficulty and the others calibrate, since conformal prediction
    needs widths that were chosen without the faces it counts. Raises ValueError for too few faces.
    """
    if probabilities is not None:
        layer: ConformalLayer = QuantileLayer(coverage)
        layer.calibrate(age, probabilities, true)
        return layer
    found, kept = slice(0, None, 2), slice(1, None, 2)
    knots, errors = estimate_difficulty(age[found], true[found])
    layer = DifficultyLayer(coverage, knots, errors)
    layer.calibrate(age[kept], None, true[kept])
    return layer


def faces_to_calibrate(coverage: float, head: str) -> int:
    """The fewest faces that `fit_conformal` can work with."""
    needed = math.ceil(coverage / (1 - coverage) - 1e-9)
    return needed if head == "distribution" else 2 * needed


def conformal_quantile(scores: NDArray[np.float64], coverage: float) -> float:
    """The ceil((n + 1) * coverage)-th smallest score: a new exchangeable one is at most that with such a probability.

    Raises ValueError where n is too small for the coverage.
    """
    rank = math.ceil((len(scores) + 1) * coverage - 1e-9)  # 10 * 0.9 is a little more than 9 in binary
    if rank > len(scores):
        raise ValueError(f"{len(scores)} faces are too few to calibrate at {coverage:g}")
    return float(np.sort(scores)[rank - 1])


def quantile(probabilities: Tensor, share: float) -> Tensor:
    """(B, K) over MIN_AGE, MIN_AGE + 1, ... -> (B,), years; bin k spreads evenly from k - 1/2 to k + 1/2."""
    reached = probabilities.cumsum(dim=1)
    filled = (share - (reached - probabilities)) / probabilities.clamp(min=1e-9)
    return MIN_AGE - 0.5 + filled.clamp(0, 1).sum(dim=1)


def estimate_difficulty(age: Tensor, true: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Knots (years of predicted age) and the mean absolute error about each; decades with few faces are merged."""
    predicted, error = (values.double().cpu().numpy() for values in (age, (age - true).abs()))
    order = np.argsort(predicted, kind="stable")
    edges = np.searchsorted(predicted[order], np.arange(_KNOT_YEARS, MAX_AGE, _KNOT_YEARS))
    groups: list[NDArray[np.intp]] = []
    for group in np.split(order, edges):
        if groups and min(len(group), len(groups[-1])) < _FEWEST_IN_BIN:
            groups[-1] = np.concatenate([groups[-1], group])
        elif len(group):
            groups.append(group)
    knots = np.array([predicted[group].mean() for group in groups])
    errors = np.array([max(error[group].mean(), MIN_HALF_WIDTH_YEARS) for group in groups])
    if len(knots) == 1:  # one knot is no line
        return np.array([knots[0], knots[0] + 1]), np.repeat(errors, 2)
    return knots, errors
