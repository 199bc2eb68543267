"""Reports as objects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agedetect.evaluation.comparison import Comparison
from agedetect.evaluation.result import Evaluation
from agedetect.reports.text import format_comparison, format_evaluation
from agedetect.reports.write import write_evaluation
from agedetect_runtime.atomic import write_whole


@dataclass(frozen=True)
class EvaluationReport:
    result: Evaluation

    def __str__(self) -> str:
        return format_evaluation(self.result)

    def save(self, folder: Path) -> list[Path]:
        return write_evaluation(self.result, folder)


@dataclass(frozen=True)
class ComparisonReport:
    result: Comparison

    def __str__(self) -> str:
        return format_comparison(self.result)

    def save(self, folder: Path) -> list[Path]:
        path = folder / "comparison.json"
        write_whole(path, self.result.to_json())
        return [path]
