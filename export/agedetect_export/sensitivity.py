"""Which layers have to stay in float: searched on training faces that did not calibrate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from agedetect_export.activations import Faces, open_quietly
from agedetect_export.quantize import Quantizer

# The judgement on some 1,900 validation faces is itself uncertain by 0.014 years, a quarter of the usual budget.
_SHARE_OF_BUDGET = 0.75
# With more than that in float the file is neither small nor fast any more: the budget then refuses it.
_MOST_IN_FLOAT = 0.5
_BATCH = 32

Years = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """`kept` in float, in the order they were chosen; what int8 is then expected to cost, in years of MAE."""

    model: onnx.ModelProto
    kept: tuple[str, ...]
    layers: int
    expected_cost_years: float


def choose(
    exact: onnx.ModelProto,
    quantizer: Quantizer,
    faces: Faces,
    true_years: Years,
    *,
    budget_years: float,
    tell: Callable[[str], None],
) -> Choice:
    """All layers in int8 if that is expected to cost three quarters of the budget; else as few in float as it takes.

    Each layer is left out once; then they are kept in float in the order of what that gained, one after another.
    """
    wanted = run(exact, faces)
    mae = float(np.abs(wanted - true_years).mean())

    def cost(model: onnx.ModelProto) -> float:
        return expected_cost(run(model, faces) - wanted, mae)

    kept: list[str] = []
    most = int(_MOST_IN_FLOAT * len(quantizer.layers))
    model = quantizer.build()
    reached = cost(model)
    if reached > _SHARE_OF_BUDGET * budget_years and most:
        tell(
            f"all {len(quantizer.layers)} layers in int8 would cost {reached:.3f} years: looking for the sensitive ones"
        )
        alone = {layer.name: cost(quantizer.build([layer.name])) for layer in quantizer.layers}
        for name in sorted(alone, key=lambda name: alone[name]):
            if reached <= _SHARE_OF_BUDGET * budget_years or len(kept) == most:
                break
            trial = quantizer.build([*kept, name])
            found = cost(trial)
            if found < reached:
                model, reached = trial, found
                kept.append(name)
    return Choice(model=model, kept=tuple(kept), layers=len(quantizer.layers), expected_cost_years=reached)


def expected_cost(difference: Years, mae: float) -> float:
    """What a difference d in years adds to an MAE, if it has nothing to do with the error e: E|e + d| - E|e|.

    To second order that is E[d^2] times the density of e at zero, 1 / (2 MAE) for Laplace's distribution. On a few
    hundred faces it is far less noisy than the two MAEs' difference.
    """
    return float(np.mean(difference**2) / (2 * max(mae, 1e-9)))


def run(model: onnx.ModelProto, faces: Faces) -> Years:
    """(N, S, S, 3) -> (N,) years."""
    session = open_quietly(model)
    batches = [faces[start : start + _BATCH] for start in range(0, len(faces), _BATCH)]
    return np.concatenate([session.run(["age"], {"faces": batch})[0] for batch in batches]).astype(np.float64)
