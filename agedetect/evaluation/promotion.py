"""Whether a model may take the place of the one in use: judged on the same faces, each answered by both."""

from __future__ import annotations

from dataclasses import dataclass

from agedetect.evaluation.comparison import Comparison, compare_predictions
from agedetect.evaluation.predictions import Predictions
from agedetect.evaluation.scores import score

MARGIN = 0.25  # years
FEWEST = 100  # of a group: the difference of a smaller one is known to a year or so


@dataclass(frozen=True)
class Judgement:
    """The challenger may be promoted where there are no `objections`, each of which is a sentence."""

    comparison: Comparison
    objections: tuple[str, ...]

    @property
    def favourable(self) -> bool:
        return not self.objections


def judge(
    challenger: Predictions,
    champion: Predictions,
    *,
    names: tuple[str, str],
    nominal_coverage: float | None,
    margin: float = MARGIN,
) -> Judgement:
    """Three conditions for the challenger, the first of the `names`.

    Its MAE is significantly lower. No group of FEWEST faces (decade of age, gender or race) is significantly worse by
    more than `margin` years, corrected for their number. Its intervals don't contain significantly fewer ages than
    `nominal_coverage` promises. Raises DataError for different faces.
    """
    comparison = compare_predictions(challenger, champion, names=names, fewest=FEWEST)
    overall = comparison.overall
    objections = []
    if not (overall.significant and overall.advantage.value > 0):
        errors = f"{overall.first_mae:.2f} years, the champion's {overall.second_mae:.2f}"
        objections.append(f"its MAE is not significantly lower: {errors}")
    objections += [
        f"{group.group}: MAE of {group.first_mae:.2f} years instead of {group.second_mae:.2f}, n={group.n:,}"
        for group in comparison.groups
        if group.significant and -group.advantage.value > margin
    ]
    coverage = score(challenger.once()).coverage
    if nominal_coverage is not None and coverage is not None and (coverage.high or 1.0) < nominal_coverage:
        objections.append(
            f"its intervals contain {coverage.value:.1%} of the ages ({coverage.low:.1%} to {coverage.high:.1%}), not "
            f"the {nominal_coverage:.0%} that they promise"
        )
    return Judgement(comparison, tuple(objections))
