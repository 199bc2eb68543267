"""What an int8 file costs in accuracy, and every reason why it may not be used."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

PRECISIONS = ("float32", "int8")
# One percent of a good model's MAE, a third of what two training runs with the same flags differ by.
MAE_BUDGET_YEARS = 0.05


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The change of MAE from the float32 file, in years, paired by face, with its 95% confidence interval."""

    mean_years: float
    low_years: float
    high_years: float

    def __str__(self) -> str:
        """Such as "0.012 (95% interval -0.003 to 0.027)"."""
        return f"{self.mean_years:.3f} (95% interval {self.low_years:.3f} to {self.high_years:.3f})"


@dataclass(frozen=True, kw_only=True)
class Differences:
    """Between the two files' ages of one face, in years, over the validation faces."""

    mean_years: float
    median_years: float
    p90_years: float
    p99_years: float
    worst_years: float


@dataclass(frozen=True, kw_only=True)
class PrecisionReport:
    """The int8 file against the float32 file, on `images` validation faces.

    Coverage is the share of the faces whose true age lies in the interval; None for a model without intervals.
    `calibration_faces` are the training faces that the activations' ranges are from. `failures` is empty where the
    file may be used.
    """

    precision: str
    images: int
    unreadable: int
    budget_years: float
    float32_mae_years: float | None
    mae_years: float | None
    cost: Cost | None
    differences: Differences | None
    nominal_coverage: float | None
    float32_coverage: float | None
    coverage: float | None
    failures: tuple[str, ...]
    calibration_faces: int = 0

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def verdict(self) -> str:
        """One line, such as "passed: int8 costs 0.012 (95% interval -0.003 to 0.027) years of MAE on 1863 images"."""
        word = "passed" if self.passed else "failed"
        return f"{word}: {self.precision} costs {self.cost or '-'} years of MAE on {self.images} images"

    def metrics(self) -> dict[str, float]:
        """For MLflow: those that are known, their names beginning with the precision."""
        named = {"mae_years": self.mae_years, "coverage": self.coverage}
        if self.cost is not None:
            named |= {"mae_cost_years": self.cost.mean_years, "mae_cost_high_years": self.cost.high_years}
        if self.differences is not None:
            named |= {f"difference_{name}": value for name, value in asdict(self.differences).items()}
        return {f"{self.precision}_{name}": value for name, value in named.items() if value is not None}

    def add_to_card(self, card: str) -> str:
        """The model card of the float32 model, with a section on this file."""
        section = (
            f"This file is {self.precision}. On {self.images} validation faces its MAE is {_years(self.mae_years)} "
            f"years, that of the float32 model {_years(self.float32_mae_years)}; every other figure here is the "
            "float32 model's."
        )
        return f"{card.rstrip()}\n\n## Precision\n\n{section}\n".lstrip()

    def summary(self) -> dict[str, Any]:
        """For the file's own provenance."""
        return {"passed": self.passed} | asdict(self)

    def to_text(self) -> str:
        lines = [f"{self.precision} against float32 on {self.images} validation images, in years"]
        lines.append(f"  calibrated on  {self.calibration_faces} training faces")
        lines.append(f"  MAE            {_years(self.mae_years)}, float32 {_years(self.float32_mae_years)}")
        if self.differences is not None:
            found = self.differences
            lines.append(
                f"  differences    mean {found.mean_years:.2f}, median {found.median_years:.2f}, "
                f"p90 {found.p90_years:.2f}, p99 {found.p99_years:.2f}, worst {found.worst_years:.2f}"
            )
        if self.coverage is not None and self.float32_coverage is not None:
            nominal = f"; nominal {self.nominal_coverage:.1%}" if self.nominal_coverage else ""
            lines.append(f"  coverage       {self.coverage:.1%}, float32 {self.float32_coverage:.1%}{nominal}")
        if self.unreadable:
            lines.append(f"  unreadable     {self.unreadable} images")
        lines += [f"  FAILED         {reason}" for reason in self.failures]
        lines.append(f"  {self.verdict}, budget {self.budget_years:g}")
        return "\n".join(lines)


def _years(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
