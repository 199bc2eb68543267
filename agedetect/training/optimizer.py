"""AdamW, without weight decay where it does harm."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer

from agedetect.errors import RunError


def adamw(module: nn.Module, *, learning_rate: float, weight_decay: float) -> AdamW:
    """Two parameter groups: matrices and kernels decay; norms and biases, of one dimension, don't.

    "No bias decay" of He et al., "Bag of Tricks for Image Classification", CVPR 2019, section 3.1.
    """
    parameters = list(module.parameters())
    groups = [
        {"params": [item for item in parameters if item.ndim > 1], "weight_decay": weight_decay},
        {"params": [item for item in parameters if item.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=learning_rate)


def restore(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Raises RunError for the state of an earlier version, whose AdamW had one group."""
    sizes = [len(group["params"]) for group in optimizer.param_groups]
    if [len(group["params"]) for group in state["param_groups"]] != sizes:
        raise RunError("the run was begun by an earlier version of agedetect, whose optimizer differs: start it anew")
    optimizer.load_state_dict(state)
