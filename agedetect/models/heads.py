"""The two heads: one number, the age, or a distribution over whole years whose mean is the age."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from agedetect.models.shared_batch import SharedDropout
from agedetect_runtime.spec import MAX_AGE, MIN_AGE

BINS = int(MAX_AGE - MIN_AGE) + 1
HEAD_WIDTH = 512
PRIOR_STD_YEARS = 20.0  # that of UTKFace's ages, roughly: where the distribution head starts


class Head(nn.Sequential):
    """Features, (B, F) -> outputs, (B, C) float32: what the loss is taken of, and what `age` is read from."""

    def __init__(self, width: int, outputs: int, *, dropout: float) -> None:
        """Xavier uniform weights (Glorot & Bengio, 2010)."""
        super().__init__(
            SharedDropout(dropout),
            nn.Linear(width, HEAD_WIDTH),
            nn.ReLU(),
            SharedDropout(dropout),
            nn.Linear(HEAD_WIDTH, outputs),
        )
        for layer in self:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    @property
    def output(self) -> nn.Linear:
        return cast(nn.Linear, self[-1])

    def age(self, outputs: Tensor) -> Tensor:
        """(B, C) -> (B,), years, within the age range."""
        raise TypeError(f"{type(self).__name__} has no ages")

    def probabilities(self, outputs: Tensor) -> Tensor | None:
        """(B, C) -> (B, K), of MIN_AGE, MIN_AGE + 1, ... MAX_AGE years; None for a head without a distribution."""
        return None

    def average(self, one: Tensor, other: Tensor) -> Tensor:
        """(B, C) and (B, C), for two views of the same faces -> (B, C), whose ages are the mean of theirs."""
        return (one + other) / 2


class RegressionHead(Head):
    """One output, the age in years; unbounded in training, where a bound would stop the gradient."""

    def __init__(self, width: int, *, dropout: float, mean_age: float) -> None:
        super().__init__(width, 1, dropout=dropout)
        nn.init.constant_(self.output.bias, mean_age)

    def age(self, outputs: Tensor) -> Tensor:
        return outputs.squeeze(1).clamp(MIN_AGE, MAX_AGE)


class DistributionHead(Head):
    """K logits over the whole years; the age is the expectation of their softmax (Rothe et al., DEX, IJCV 2018)."""

    years: Tensor

    def __init__(self, width: int, *, dropout: float, mean_age: float) -> None:
        super().__init__(width, BINS, dropout=dropout)
        self.register_buffer("years", torch.arange(BINS, dtype=torch.float32) + MIN_AGE, persistent=False)
        with torch.no_grad():  # a normal distribution about the mean age, before anything is learned
            self.output.bias.copy_(-0.5 * ((self.years - mean_age) / PRIOR_STD_YEARS) ** 2)

    def age(self, outputs: Tensor) -> Tensor:
        return expectation(functional.softmax(outputs, dim=1), self.years)

    def probabilities(self, outputs: Tensor) -> Tensor:
        return functional.softmax(outputs, dim=1)

    def average(self, one: Tensor, other: Tensor) -> Tensor:
        """Logits of the mean of the two distributions."""
        return torch.logaddexp(functional.log_softmax(one, dim=1), functional.log_softmax(other, dim=1))


HEADS: dict[str, type[RegressionHead] | type[DistributionHead]] = {
    "regression": RegressionHead,
    "distribution": DistributionHead,
}


def expectation(probabilities: Tensor, years: Tensor) -> Tensor:
    """(B, K) and (K,) -> (B,), years."""
    return (probabilities * years).sum(dim=1)
