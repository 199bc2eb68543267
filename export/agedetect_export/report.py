"""What a parity check found: figures in years, and every reason why the file may not be used."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from agedetect_export.precision import PrecisionReport
from agedetect_export.resize_report import ResizeReport
from agedetect_runtime.table import printable

# Two float32 implementations of one network differ by 1e-5 to 2e-5 years at ages near 30, and by up to 7e-5 near
# 80. The smallest of the mistakes that were measured, bicubic for bilinear, moves an age by 0.11 years (BGR for
# RGB: 7.9; no mean and std: 21.7). This tolerance is far from both; half a year would hide the first.
TOLERANCE_YEARS = 1e-3
# Of one bin of a distribution. Two float32 softmaxes differ by some 1e-6 and bicubic for bilinear by 1e-3; a chance
# of being old enough, which adds bins up, is printed with two digits.
PROBABILITY_TOLERANCE = 1e-4
MIN_IMAGES = 8


@dataclass(frozen=True, kw_only=True)
class BatchParity:
    """Differences at one batch size, in years over the ages that are numbers; None where none is.

    `worst_probability` is the largest difference of any bin, None for a model without probabilities.
    """

    batch_size: int
    worst_years: float | None
    mean_years: float | None
    worst_probability: float | None = None


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The ages that the torch program gave, in years: how different the compared faces are to it."""

    mean_years: float
    std_years: float
    lowest_years: float
    highest_years: float


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """`images` were readable and compared, `distinct` of them differ in their pixels.

    Worst and mean are over all batch sizes. `reference` is None where torch gave no number at all.
    `failures` is empty where the file may be used. `precision` is what became of the file after that, None for
    one that stays in float32; `resize` what its resize in the graph gives, None for a file that takes faces.
    """

    images: int
    distinct: int
    tolerance_years: float
    worst_years: float | None
    worst_image: str | None
    mean_years: float | None
    batches: tuple[BatchParity, ...]
    reference: Spread | None
    unreadable: tuple[str, ...]
    failures: tuple[str, ...]
    worst_probability: float | None = None
    precision: PrecisionReport | None = None
    resize: ResizeReport | None = None

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def verdict(self) -> str:
        """One line, such as "passed: worst 1.3e-05 years on 64 images"."""
        word = "passed" if self.passed else "failed"
        return f"{word}: worst {_years(self.worst_years)} years on {self.images} images"

    def metrics(self) -> dict[str, float]:
        """For MLflow: those that are known."""
        named = {
            "parity_worst_years": self.worst_years,
            "parity_mean_years": self.mean_years,
            "parity_worst_probability": self.worst_probability,
        }
        known = {name: value for name, value in named.items() if value is not None}
        for part in (self.precision, self.resize):
            known |= part.metrics() if part else {}
        return known

    def verdicts(self) -> dict[str, str]:
        """For the tags of a model version: one name and line for each check."""
        reduced = {f"onnx_{self.precision.precision}": self.precision.verdict} if self.precision else {}
        resized = {"onnx_resize": self.resize.verdict} if self.resize else {}
        return {"onnx_parity": self.verdict, **reduced, **resized}

    def summary(self) -> dict[str, Any]:
        """The figures without the images' names, which have no place in a file that is given away."""
        left_out = ("worst_image", "unreadable", "failures", "precision", "resize")
        return {"passed": self.passed} | {k: v for k, v in asdict(self).items() if k not in left_out}

    def to_json(self) -> str:
        """Plain ASCII: a file name that isn't UTF-8 could not be written otherwise."""
        report = {"passed": self.passed} | asdict(self)
        return json.dumps(report, indent=2, allow_nan=False) + "\n"

    def to_text(self) -> str:
        """For a terminal; no name can steer it."""
        lines = [f"parity of torch and ONNX Runtime on {self.images} images ({self.distinct} distinct), in years"]
        if self.reference is not None:
            lines.append(f"  torch ages     {_spread(self.reference)}")
        for batch in self.batches:
            worst, mean = _years(batch.worst_years), _years(batch.mean_years)
            bins = "" if batch.worst_probability is None else f"; worst probability {batch.worst_probability:.2g}"
            lines.append(f"  batches of {batch.batch_size:<3} worst {worst}, mean {mean}{bins}")
        lines.append(f"  worst image    {printable(self.worst_image or '-')}")
        lines += [f"  unreadable     {printable(reason)}" for reason in self.unreadable]
        lines += [f"  FAILED         {printable(reason)}" for reason in self.failures]
        lines.append(f"  {self.verdict}, tolerance {self.tolerance_years:g}")
        lines += [self.resize.to_text()] if self.resize else []
        return "\n".join(lines)


def _spread(reference: Spread) -> str:
    return (
        f"mean {reference.mean_years:.1f}, standard deviation {reference.std_years:.1f}, "
        f"from {reference.lowest_years:.1f} to {reference.highest_years:.1f}"
    )


def _years(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"
