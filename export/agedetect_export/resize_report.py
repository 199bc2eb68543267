"""What the comparison of a resize in the graph found, in years."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

# In ONNX Runtime the pixels are Pillow's own, so only the order of float32 sums is left, some 1e-5 years. The
# smallest mistake of a resize that was measured, one grey level here and there, moves ages by 0.03 years.
RESIZE_TOLERANCE_YEARS = 1e-3


@dataclass(frozen=True, kw_only=True)
class ResizeReport:
    """`pictures` in `shapes` (width x height); years over all outputs, None where an age was no number."""

    pictures: int
    shapes: tuple[str, ...]
    worst_years: float | None
    mean_years: float | None
    tolerance_years: float = RESIZE_TOLERANCE_YEARS

    @property
    def passed(self) -> bool:
        return self.worst_years is not None and self.worst_years <= self.tolerance_years

    @property
    def verdict(self) -> str:
        word = "passed" if self.passed else "failed"
        worst = "-" if self.worst_years is None else f"{self.worst_years:.2g}"
        return f"{word}: resized in the graph, worst {worst} years on {self.pictures} pictures"

    def metrics(self) -> dict[str, float]:
        named = {"resize_worst_years": self.worst_years, "resize_mean_years": self.mean_years}
        return {name: value for name, value in named.items() if value is not None}

    def summary(self) -> dict[str, Any]:
        """For the file's own provenance."""
        return {"passed": self.passed} | asdict(self)

    def to_text(self) -> str:
        return f"  {self.verdict} of {len(self.shapes)} shapes, tolerance {self.tolerance_years:g}"
