"""An evaluation or a comparison that shows itself: on a terminal, in a notebook, as a data frame, as files."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agedetect.evaluation.bootstrap import IntervalEstimate
from agedetect.evaluation.comparison import Comparison
from agedetect.evaluation.result import Evaluation
from agedetect.evaluation.scores import Scores
from agedetect.reports import text
from agedetect.reports.figures import advantage_by_group, figures
from agedetect.reports.html import summary
from agedetect.reports.tables import Table, comparison_table, headlines
from agedetect.reports.write import write_comparison, write_evaluation

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class EvaluationReport:
    """What `evaluate` returns; `result` has every figure."""

    result: Evaluation

    @property
    def metrics(self) -> dict[str, float]:
        """The overall figures by name, ages in years and shares from 0 to 1, without their intervals."""
        return self.result.metrics()

    def to_frame(self, what: str = "groups") -> pd.DataFrame:
        """`"groups"`: all faces, then each group, every metric with its 95% interval in `_low` and `_high`.

        `"predictions"`: a row a face; `error` is predicted minus true age in years. ValueError for any other word.
        """
        import pandas as pd

        if what == "groups":
            groups = [(group.family, group.name, group.scores) for group in self.result.groups]
            rows = [("overall", "all faces", self.result.overall), *groups]
            return pd.DataFrame([{"family": family, "group": name} | _cells(scores) for family, name, scores in rows])
        if what != "predictions":
            raise ValueError(f"no frame {what!r}: ask for 'groups' or 'predictions'")
        table = self.result.predictions
        known = {name: [getattr(face, name) for face in table.faces] for name in ("path", "gender", "race")}
        ages = {"true": table.true, "age": table.age, "low": table.low, "high": table.high, "error": table.error}
        return pd.DataFrame(known | ages)

    def save(self, folder: str | Path) -> list[Path]:
        """Write evaluation.html, evaluation.json, predictions.csv and figures/* there; the files written."""
        return write_evaluation(self.result, Path(folder))

    def __str__(self) -> str:
        return text.format_evaluation(self.result)

    def __repr__(self) -> str:
        return f"<EvaluationReport: MAE {headlines(self.result)[0].text}, n={self.result.n:,}>"

    def _repr_html_(self) -> str:
        context = self.result.context
        rows = [(item.name, f"{item.value} {item.unit}".strip(), item.interval) for item in headlines(self.result)]
        drawn = figures(self.result, only=("error_by_age", "residuals"))
        return summary(
            f"Evaluation of {context.model}",
            f"{text.faces_counted(self.result.n, self.result.files)} of {context.data}: {context.why}. "
            f"{text.baseline_sentence(self.result)}",
            Table(("", "value", "95% CI"), rows),
            {"Error by age": drawn["error_by_age"], "Residuals": drawn["residuals"]},
        )


@dataclass(frozen=True, repr=False)
class ComparisonReport:
    """What `compare` returns; `result` has every figure."""

    result: Comparison

    @property
    def verdict(self) -> str:
        """Which model is better and by how much, or that no difference is significant at 95%."""
        return text.verdict(self.result)

    def to_frame(self) -> pd.DataFrame:
        """All faces, then each group: both MAE in years, and `advantage`, the second's minus the first's.

        `p_value` is that of no difference, a group's after Holm's correction for the number of groups.
        """
        import pandas as pd

        return pd.DataFrame(
            [
                {"group": item.group, "n": item.n, "first_mae": item.first_mae, "second_mae": item.second_mae}
                | _interval("advantage", item.advantage)
                | {"p_value": item.p_value, "significant": item.significant}
                for item in (self.result.overall, *self.result.groups)
            ]
        )

    def save(self, folder: str | Path) -> list[Path]:
        """Write comparison.html and comparison.json there; the files written."""
        return write_comparison(self.result, Path(folder))

    def __str__(self) -> str:
        return text.format_comparison(self.result)

    def __repr__(self) -> str:
        return f"<ComparisonReport: {self.verdict}>"

    def _repr_html_(self) -> str:
        result = self.result
        counted = text.faces_counted(result.overall.n, result.files)
        models = f"A: {result.first}. B: {result.second}. {counted}: {result.why}."
        figure = {"Difference in MAE by group": advantage_by_group(result)}
        return summary(self.verdict, models, comparison_table(result), figure)


def _cells(scores: Scores) -> dict[str, Any]:
    """`n`, then three columns a metric; None where the model or the faces give no such metric."""
    cells: dict[str, Any] = {"n": scores.n}
    for item in fields(scores):
        if item.name != "n":
            cells |= _interval(item.name, getattr(scores, item.name) or IntervalEstimate(float("nan")))
    return cells


def _interval(name: str, figure: IntervalEstimate) -> dict[str, float | None]:
    return {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
