"""The learning rate over the steps, by hand."""

import pytest
import torch

from agedetect.config import TrainConfig
from agedetect.training.phases import Phase
from agedetect.training.schedule import LearningRateSchedule

FULL = Phase("all", 1, 4, 1.0)


def rates_over(config: TrainConfig, phase: Phase = FULL, steps: int = 10, mae: float = 5.0) -> list[float]:
    """The rate at each step of the phase, the MAE never getting better."""
    weight = torch.nn.Parameter(torch.zeros(1))
    rates = LearningRateSchedule(torch.optim.SGD([weight], lr=phase.learning_rate), phase, config, steps)
    seen = []
    for step in range((phase.last - phase.first + 1) * steps):
        rates.before_step(step)
        seen.append(rates.current)
        if (step + 1) % steps == 0:
            rates.after_epoch(mae)
    return seen


def test_the_cosine_warms_up_in_a_line_and_ends_at_nothing() -> None:
    seen = rates_over(TrainConfig(schedule="cosine", warmup_epochs=1))
    assert seen[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert seen[10] == 1
    assert seen[25] == pytest.approx(0.5)  # half of the thirty steps behind it
    assert seen[-1] < 0.01
    assert seen[10:] == sorted(seen[10:], reverse=True)


def test_a_plateau_lowers_the_rate_after_the_warm_up() -> None:
    seen = rates_over(TrainConfig(schedule="plateau", warmup_epochs=1, plateau_epochs=0))
    assert seen[9::10] == pytest.approx([1, 1, 0.3, 0.09])  # the first epoch's MAE is the best so far
    assert seen[0] == pytest.approx(0.1)


def test_the_head_phase_has_neither_warm_up_nor_cosine() -> None:
    seen = rates_over(TrainConfig(schedule="cosine", warmup_epochs=1), Phase("head", 1, 2, 1.0))
    assert seen == [1.0] * 20
