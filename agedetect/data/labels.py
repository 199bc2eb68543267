"""Labels of faces: ages, genders and races, and how a UTKFace file name gives them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from agedetect_runtime.spec import MAX_AGE, MIN_AGE

GENDERS = ("male", "female")
RACES = ("White", "Black", "Asian", "Indian", "Other")

# [age]_[gender]_[race]_[datetime], then anything; three real names have one field between age and datetime.
_FULL_NAME = re.compile(r"(\d+)_(\d+)_(\d+)_\d+(?=\D|$)", re.ASCII)
_SHORT_NAME = re.compile(r"(\d+)_\d_\d{8,}(?=\D|$)", re.ASCII)
_AGE = re.compile(r"\d+([.,]\d+)?", re.ASCII)  # float() would take 2_5 for 25
_RANGE = re.compile(r"(\d+) *[-\N{EN DASH}] *(\d+)|[(\[] *(\d+) *[-\N{EN DASH},] *(\d+) *[)\]]", re.ASCII)


@dataclass(frozen=True)
class Label:
    """`age` in years; `gender` is one of GENDERS and `race` one of RACES, or None where unknown."""

    age: float
    gender: str | None
    race: str | None


@dataclass(frozen=True)
class LabelError:
    """Why a name or a row gives no label."""

    reason: str


def label_of_name(name: str) -> Label | LabelError:
    """The label in a UTKFace file name; a name without its race field gives an age and no group."""
    if match := _FULL_NAME.match(name):
        return label_of(*match.groups())
    if match := _SHORT_NAME.match(name):
        return label_of(match[1], "", "")
    return LabelError("its name is not [age]_[gender]_[race]_[datetime]")


def label_of(age: str, gender: str, race: str) -> Label | LabelError:
    """From text as people write it: an age may be a range, `(25, 32)` or `25-32`, which stands for its middle; an
    empty gender or race is unknown.
    """
    years = _years(age.strip())
    if years is None or not MIN_AGE <= years <= MAX_AGE:
        return LabelError(f"age {age!r} is not from {MIN_AGE:g} to {MAX_AGE:g} years")
    try:
        return Label(years, _choice("gender", gender, GENDERS), _choice("race", race, RACES))
    except ValueError as error:
        return LabelError(str(error))


def is_range(age: str) -> bool:
    """Of ages, as `label_of` takes it."""
    return _RANGE.fullmatch(age.strip()) is not None


def _years(text: str) -> float | None:
    if _AGE.fullmatch(text):
        return float(text.replace(",", "."))
    if found := _RANGE.fullmatch(text):
        low, high = (int(end) for end in found.groups() if end is not None)
        return (low + high) / 2 if low <= high else None
    return None


def _choice(field: str, text: str, names: tuple[str, ...]) -> str | None:
    """Raises ValueError where the text is no UTKFace code, name or initial of one name; an empty one is unknown."""
    text = text.strip().lower()
    if not text:
        return None
    for code, name in enumerate(names):
        if text in (str(code), name.lower(), name[0].lower()):
            return name
    codes = ", ".join(f"{code} {name}" for code, name in enumerate(names))
    raise ValueError(f"{field} {text!r} is none of {codes}")
