"""The learning rate over the steps, by hand."""

import dataclasses
from collections.abc import Sequence

import pytest
import torch

from agedetect.config import PLATEAU_EPOCHS, TrainConfig
from agedetect.training.phases import Phase
from agedetect.training.schedule import LearningRateSchedule

PLATEAU = TrainConfig(schedule="plateau", epochs=12, warmup_epochs=0)
FULL = Phase("all", 1, 4, 1.0)


def rates_over(
    config: TrainConfig, phase: Phase = FULL, steps: int = 10, maes: Sequence[float] = (5.0,) * 12
) -> list[float]:
    """The rate at each step of the phase; after its n-th epoch the MAE is `maes[n]`."""
    weight = torch.nn.Parameter(torch.zeros(1))
    rates = LearningRateSchedule(torch.optim.SGD([weight], lr=phase.learning_rate), phase, config, steps)
    seen = []
    for step in range((phase.last - phase.first + 1) * steps):
        rates.before_step(step)
        seen.append(rates.current)
        if (step + 1) % steps == 0:
            rates.after_epoch(maes[step // steps])
    return seen


def test_the_cosine_warms_up_in_a_line_and_ends_at_nothing() -> None:
    seen = rates_over(TrainConfig(schedule="cosine", epochs=4, warmup_epochs=1))
    assert seen[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert seen[10] == 1
    assert seen[25] == pytest.approx(0.5)  # half of the thirty steps behind it
    assert seen[-1] < 0.01
    assert seen[10:] == sorted(seen[10:], reverse=True)


def test_gains_of_a_hair_lower_the_rate_after_exactly_the_stated_epochs() -> None:
    """As with EMA weights, whose MAE is a little better after every epoch: torch's own threshold would never act."""
    assert PLATEAU_EPOCHS == 2
    maes = [5.0 * 0.999**epoch for epoch in range(12)]
    seen = rates_over(PLATEAU, Phase("all", 1, 12, 1.0), steps=1, maes=maes)
    # The first epoch is the best so far. None of the next is 2% better: lowered after every two.
    assert seen == pytest.approx([1, 1, 1, 0.3, 0.3, 0.09, 0.09, 0.027, 0.027, 0.0081, 0.0081, 0.00243])


def test_gains_worth_the_name_keep_the_rate() -> None:
    maes = [5.0 * 0.975**epoch for epoch in range(12)]
    assert rates_over(PLATEAU, Phase("all", 1, 12, 1.0), steps=1, maes=maes) == [1.0] * 12
    one_bad_epoch = [5.0, 5.1, 4.8, 4.9, 4.6, 4.7, 4.4, 4.5, 4.2, 4.3, 4.0, 4.1]  # chance, not a plateau
    assert rates_over(PLATEAU, Phase("all", 1, 12, 1.0), steps=1, maes=one_bad_epoch) == [1.0] * 12


def test_a_plateau_is_looked_for_after_the_warm_up() -> None:
    seen = rates_over(dataclasses.replace(PLATEAU, warmup_epochs=2), Phase("all", 1, 12, 1.0), steps=2)
    assert seen[:4] == pytest.approx([0.25, 0.5, 0.75, 1])
    assert seen[4:8] == [1.0] * 4  # the second epoch's MAE is the best so far, and two more are no better
    assert seen[8] == pytest.approx(0.3)


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_a_head_phase_before_the_fine_tuning_phase_keeps_its_rate(schedule: str) -> None:
    config = TrainConfig(schedule=schedule, epochs=12, warmup_epochs=1)
    assert rates_over(config, Phase("head", 1, 6, 1.0), steps=2) == [1.0] * 12


def test_a_head_phase_that_is_the_whole_run_follows_the_schedule_without_a_warm_up() -> None:
    seen = rates_over(TrainConfig(epochs=4, head_epochs=4, warmup_epochs=1), Phase("head", 1, 4, 1.0))
    assert seen[0] == 1
    assert seen[20] == pytest.approx(0.5)
    assert seen[-1] < 0.01
    lowered = rates_over(dataclasses.replace(PLATEAU, head_epochs=12), Phase("head", 1, 12, 1.0), steps=1)
    assert lowered[:5] == pytest.approx([1, 1, 1, 0.3, 0.3])
