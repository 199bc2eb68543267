"""AdamW's two groups."""

import pytest
import torch
from torch import nn

from agedetect.errors import RunError
from agedetect.training.optimizer import adamw, restore


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def test_norms_and_biases_do_not_decay_and_everything_else_does() -> None:
    model = network()
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimizer = adamw(model, learning_rate=0.1, weight_decay=0.5)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)  # so that the decay alone moves them
    optimizer.step()
    for name, value in model.named_parameters():
        left = 1 - 0.1 * 0.5 if name in ("0.weight", "3.weight") else 1
        assert torch.allclose(value, left * before[name]), name


def test_the_state_of_an_earlier_version_is_refused_in_one_line() -> None:
    model = network()
    former = torch.optim.AdamW(model.parameters(), lr=0.1)
    with pytest.raises(RunError, match="begun by an earlier version of agedetect, whose optimizer differs: start it"):
        restore(adamw(model, learning_rate=0.1, weight_decay=0.5), former.state_dict())
