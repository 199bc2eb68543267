"""Files of weights, and how they are fitted to a backbone: key by key, or not at all."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from agedetect.errors import WeightsError


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict, of safetensors or of torch without unpickling. Raises WeightsError where it isn't one."""
    if not path.is_file():
        raise WeightsError(f"{path.resolve()}: no such weights file; --weights takes imagenet, none or a file")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise a dozen types for a damaged or unsafe file
        raise WeightsError(f"{path}: is not a state dict that loads safely ({type(error).__name__})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path}: holds no state dict (names to tensors)")
    return state


def load_exactly(module: nn.Module, state: dict[str, Tensor], classifier: str, source: str) -> None:
    """Every key is accounted for: the ImageNet classifier's are dropped, any other difference is an error."""
    state = {key: value for key, value in state.items() if not key.startswith(f"{classifier}.")}
    expected = module.state_dict()
    # Written by torch before 0.4.1, batch norm has no such counter; it plays no part with a fixed momentum.
    missing = sorted(k for k in expected.keys() - state.keys() if not k.endswith("num_batches_tracked"))
    unexpected = sorted(state.keys() - expected.keys())
    misshapen = sorted(k for k in expected.keys() & state.keys() if expected[k].shape != state[k].shape)
    problems = [
        f"{what} {', '.join(keys[:5])}{f' and {len(keys) - 5} more' if len(keys) > 5 else ''}"
        for what, keys in (
            ("lacks", missing),
            ("has unknown", unexpected),
            ("has other shapes for", misshapen),
        )
        if keys
    ]
    if problems:
        raise WeightsError(f"{source}: does not fit the backbone: {'; '.join(problems)}")
    module.load_state_dict(state, strict=False)
