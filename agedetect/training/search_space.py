"""What `agedetect tune` searches, and why not more: docs/decisions.md gives the measurements."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import Trial

from agedetect.config import TrainConfig

Distribution = FloatDistribution | IntDistribution

SOFT_LABEL_LOSSES = ("soft_labels", "dldl_v2")
_HEAD_EPOCHS = 3  # more or fewer than the recipe's


@dataclass(frozen=True)
class SearchSpace:
    """Settings and where each is searched; `defaults` are the recipe's own, the first trial.

    From epoch `pruned_from` on every trial is in its last phase, so that their errors compare.
    """

    distributions: Mapping[str, Distribution]
    defaults: Mapping[str, Any]
    pruned_from: int

    def suggest(self, trial: Trial) -> dict[str, Any]:
        return {name: _suggest(trial, name, found) for name, found in self.distributions.items()}


def _suggest(trial: Trial, name: str, found: Distribution) -> float | int:
    if isinstance(found, IntDistribution):
        return trial.suggest_int(name, found.low, found.high)
    return trial.suggest_float(name, found.low, found.high, log=found.log)


def search_space(config: TrainConfig, fixed: Collection[str]) -> SearchSpace:
    """Of a config without 'auto'. What is `fixed` isn't searched, nor what would change nothing."""
    head, epochs = int(config.head_epochs), config.epochs
    tunes_head_epochs = 0 < head < epochs and "head_epochs" not in fixed
    space: dict[str, Distribution] = {}
    if head == epochs:
        space["learning_rate"] = FloatDistribution(config.learning_rate / 5, config.learning_rate * 5, log=True)
    else:
        rate = float(config.finetune_learning_rate)
        space["finetune_learning_rate"] = FloatDistribution(rate / 5, rate * 5, log=True)
    most = head
    if tunes_head_epochs:
        least, most = max(1, head - _HEAD_EPOCHS), max(head, min(head + _HEAD_EPOCHS, epochs - 2))
        space["head_epochs"] = IntDistribution(least, most)
    space["weight_decay"] = FloatDistribution(1e-4, 1e-1, log=True)
    space["dropout"] = FloatDistribution(0.0, 0.5)
    if config.loss_name in SOFT_LABEL_LOSSES:
        space["label_sigma"] = FloatDistribution(1.0, 4.0)
    space = {name: found for name, found in space.items() if name not in fixed and not found.single()}
    defaults = {name: getattr(config, name) for name in space}
    return SearchSpace(space, defaults, pruned_from=(0 if head == epochs else most) + 2)
