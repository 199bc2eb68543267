"""How numbers are written in every report: ages, errors with their interval, shares, counts."""

from __future__ import annotations

from agedetect.evaluation.bootstrap import IntervalEstimate

MISSING = "-"


def decimal(value: float, digits: int = 2, *, signed: bool = False) -> str:
    """Without "-0.00"."""
    return f"{round(value, digits) + 0.0:{'+' if signed else ''}.{digits}f}"


def years(figure: IntervalEstimate | None, digits: int = 2, *, signed: bool = False) -> str:
    """`4.85 (4.63 to 5.07)`"""
    if figure is None:
        return MISSING
    interval = bounds(figure, digits, signed=signed)
    return decimal(figure.value, digits, signed=signed) + (f" ({interval})" if interval else "")


def share(figure: IntervalEstimate | None) -> str:
    """`64.3% (62.1 to 66.5)`"""
    if figure is None:
        return MISSING
    interval = bounds(as_percent(figure), 1)
    return f"{figure.value:.1%}" + (f" ({interval})" if interval else "")


def bounds(figure: IntervalEstimate, digits: int = 2, *, signed: bool = False) -> str:
    """`4.63 to 5.07`, empty where there is no interval."""
    if figure.low is None or figure.high is None:
        return ""
    return " to ".join(decimal(bound, digits, signed=signed) for bound in (figure.low, figure.high))


def as_percent(figure: IntervalEstimate) -> IntervalEstimate:
    """A share from 0 to 1 in per cent."""
    low, high = (None if bound is None else 100 * bound for bound in (figure.low, figure.high))
    return IntervalEstimate(100 * figure.value, low, high)


def age_text(age: float) -> str:
    """An age, or a mean of ages, to a tenth of a year and without trailing zeros."""
    return f"{age:.1f}".removesuffix(".0")
