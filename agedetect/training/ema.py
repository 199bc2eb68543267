"""The exponential moving average (EMA) of a model's weights, which is evaluated and kept instead of the last ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Update = Callable[[Any, Any, Any], None]


def exponential_moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of weights and batch norm's statistics; call `update_parameters` after each step.

    The decay grows from 0.1 towards `decay`, so that a short run doesn't depend on where it began: after t steps it is
    (1 + t) / (10 + t) at most, as in TensorFlow's ExponentialMovingAverage.
    """

    @torch.no_grad()
    def update(average: list[Tensor], current: list[Tensor], _: Tensor | int) -> None:
        steps = int(averaged.n_averaged)  # on the CPU, where `_`, its copy on the GPU, would have to be waited for
        share = 1 - min(decay, (1 + steps) / (10 + steps))
        if average[0].is_floating_point():
            torch._foreach_lerp_(average, current, share)
        else:  # batch norm's count of batches
            torch._foreach_copy_(average, current)

    rule: Update = update
    averaged = AveragedModel(model, multi_avg_fn=rule, use_buffers=True)
    return averaged
