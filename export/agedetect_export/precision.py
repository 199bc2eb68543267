"""What a file in int8 or float16 does and costs, and every reason why it may not be used."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

PRECISIONS = ("float32", "int8", "fp16")
# One percent of a good model's MAE: what a training run's seed alone moves.
MAE_BUDGET_YEARS = 0.05


@dataclass(frozen=True, kw_only=True)
class Differences:
    """How far the ages of one face are apart, in years, over the validation faces."""

    mean_years: float
    median_years: float
    p90_years: float
    p99_years: float
    worst_years: float


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """How a file was made smaller: from which training faces, and with which of its layers left in float."""

    calibration_faces: int
    search_faces: int
    seed: int
    layers: int
    kept_in_float: tuple[str, ...]
    expected_cost_years: float


@dataclass(frozen=True, kw_only=True)
class PrecisionReport:
    """On validation faces. `cost_years` is the change of MAE from the float32 file, give or take `cost_error_years`.

    Coverage is the share of the faces whose true age lies in the interval; None for a model without intervals.
    `reduction` is None for fp16, which takes no choices. `failures` is empty where the file may be used.
    """

    precision: str
    images: int
    unreadable: int
    budget_years: float
    float32_mae_years: float | None
    mae_years: float | None
    cost_years: float | None
    cost_error_years: float | None
    differences: Differences | None
    promised_coverage: float | None
    float32_coverage: float | None
    coverage: float | None
    failures: tuple[str, ...]
    reduction: Reduction | None = None

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def verdict(self) -> str:
        """One line, such as "passed: int8 costs 0.012 years of MAE (4.850 to 4.862) on 1863 images"."""
        word = "passed" if self.passed else "failed"
        return (
            f"{word}: {self.precision} costs {_years(self.cost_years)} years of MAE "
            f"({_years(self.float32_mae_years)} to {_years(self.mae_years)}) on {self.images} images"
        )

    def metrics(self) -> dict[str, float]:
        """For MLflow: those that are known, their names beginning with the precision."""
        named = {"mae_years": self.mae_years, "mae_cost_years": self.cost_years, "coverage": self.coverage}
        if self.differences is not None:
            named |= {f"difference_{name}": value for name, value in asdict(self.differences).items()}
        return {f"{self.precision}_{name}": value for name, value in named.items() if value is not None}

    def add_to_card(self, card: str) -> str:
        """The model card of the float32 model, and what is different in this file."""
        kept = ""
        if self.reduction is not None:
            kept = f", {len(self.reduction.kept_in_float)} of its {self.reduction.layers} layers in float"
        before, after = _years(self.float32_mae_years), _years(self.mae_years)
        section = (
            f"This file is {self.precision}{kept}. On {self.images} validation faces its MAE is {after} years, that of "
            f"the float32 model {before}; every other figure here is the float32 model's."
        )
        return f"{card.rstrip()}\n\n## Precision\n\n{section}\n".lstrip()

    def summary(self) -> dict[str, Any]:
        """For the file's own provenance."""
        return {"passed": self.passed} | asdict(self)

    def to_text(self) -> str:
        lines = [f"{self.precision} against float32 on {self.images} validation images, in years"]
        if self.reduction is not None:
            lines += _reduction_lines(self.reduction)
        if self.differences is not None:
            found = self.differences
            lines.append(
                f"  differences    mean {found.mean_years:.2f}, median {found.median_years:.2f}, "
                f"p90 {found.p90_years:.2f}, p99 {found.p99_years:.2f}, worst {found.worst_years:.2f}"
            )
        if self.coverage is not None and self.float32_coverage is not None:
            promised = f"; promised {self.promised_coverage:.1%}" if self.promised_coverage else ""
            lines.append(f"  coverage       {self.coverage:.1%}, float32 {self.float32_coverage:.1%}{promised}")
        if self.unreadable:
            lines.append(f"  unreadable     {self.unreadable} images")
        lines += [f"  FAILED         {reason}" for reason in self.failures]
        lines.append(f"  {self.verdict}, ±{_years(self.cost_error_years)}, budget {self.budget_years:g}")
        return "\n".join(lines)


def _reduction_lines(reduction: Reduction) -> list[str]:
    kept = ", ".join(reduction.kept_in_float) or "none"
    return [
        f"  calibrated on  {reduction.calibration_faces} training faces, searched on {reduction.search_faces} others "
        f"(seed {reduction.seed})",
        f"  kept in float  {len(reduction.kept_in_float)} of {reduction.layers} layers: {kept}",
    ]


def _years(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
