"""What a model file says about itself: one JSON value under one metadata key."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from agedetect_runtime.errors import ModelError

METADATA_KEY = "agedetect"
SCHEMA = 1
RESAMPLINGS = ("bilinear", "bicubic")
HEADS = ("regression", "distribution")
FACES, PICTURE = "faces", "picture"  # what a graph's input is called, and is
MIN_AGE, MAX_AGE = 0.0, 116.0  # years: the labels that train and the ages that our heads answer with

Template = tuple[tuple[float, float], ...]

# Where UTKFace's aligned chips have the eyes, the nose and the corners of the mouth, left to right as seen: medians
# over its chips of 200 pixels.
UTKFACE_TEMPLATE: Template = (
    (59 / 200, 58 / 200),
    (139 / 200, 59 / 200),
    (98 / 200, 105 / 200),
    (63 / 200, 138 / 200),
    (134 / 200, 138 / 200),
)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Everything that a client must know besides the graph.

    `image_size` is S of the graph's input `faces`, uint8 (B, S, S, 3), RGB; `resampling` is the Pillow filter
    that training resized with. Where `input` is "picture", the graph resizes: it takes one decoded picture of any
    size, uint8 (1, H, W, 3), and uses its centre square. Ages are years. `coverage` is the nominal coverage of `low`
    and `high` (0.9: nine in ten), None for a model without intervals. A model whose `head` is "distribution" also gives
    `probabilities`, (B, K): column k is the probability of `min_age + k` years, up to `max_age`. `template` is where
    the images that trained it have the eyes, the nose and the corners of the mouth, left to right as seen: (x, y) as
    shares of the side. `card` is the model card, Markdown; `provenance` is free JSON: where the model came from and how
    it did. Raises ModelError for an invalid value.
    """

    image_size: int
    resampling: str
    backbone: str
    min_age: float
    max_age: float
    precision: str = "float32"
    input: str = FACES
    coverage: float | None = None
    head: str = "regression"
    template: Template = UTKFACE_TEMPLATE
    card: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ModelError(f"schema {_shown(self.schema)} is unknown; this version reads schema {SCHEMA}")
        for name in ("backbone", "precision", "card"):
            if not isinstance(getattr(self, name), str):
                raise ModelError(f"{name} {_shown(getattr(self, name))} is not text")
        if not (isinstance(self.image_size, int) and 16 <= self.image_size <= 4096):
            raise ModelError(f"image_size {_shown(self.image_size)} is not a whole number from 16 to 4096")
        if self.resampling not in RESAMPLINGS:
            raise ModelError(f"resampling {_shown(self.resampling)} is not one of {', '.join(RESAMPLINGS)}")
        if self.input not in (FACES, PICTURE):
            raise ModelError(f"input {_shown(self.input)} is not one of {FACES}, {PICTURE}")
        if self.head not in HEADS:
            raise ModelError(f"head {_shown(self.head)} is not one of {', '.join(HEADS)}")
        if not (_is_number(self.min_age) and _is_number(self.max_age) and self.min_age < self.max_age):
            raise ModelError(f"age range {_shown(self.min_age)} to {_shown(self.max_age)} is empty")
        if self.coverage is not None and not (_is_number(self.coverage) and 0 < self.coverage < 1):
            raise ModelError(f"coverage {_shown(self.coverage)} is not between 0 and 1")
        if not isinstance(self.provenance, Mapping):
            raise ModelError("provenance is not a JSON object")
        object.__setattr__(self, "template", _template(self.template))

    @property
    def outputs(self) -> tuple[str, ...]:
        """The graph's outputs in their order, float32 (B,) in years, `probabilities` (B, K)."""
        interval = () if self.coverage is None else ("low", "high")
        return ("age", *interval, *(("probabilities",) if self.head == "distribution" else ()))

    @property
    def bins(self) -> int:
        """K, the whole years from `min_age` to `max_age`, both included."""
        return round(self.max_age - self.min_age) + 1

    def to_json(self) -> str:
        """One line. Raises ModelError where the provenance holds what JSON can't express, such as NaN."""
        try:
            return json.dumps(asdict(self), sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ModelError(f"provenance cannot be written as JSON: {error}") from error

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Read what `to_json` wrote; unknown fields are ignored. Raises ModelError saying what is wrong."""
        try:
            value = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"its {METADATA_KEY!r} metadata is not JSON") from error
        if not isinstance(value, dict):
            raise ModelError(f"its {METADATA_KEY!r} metadata is not a JSON object")
        if value.get("schema") != SCHEMA:
            raise ModelError(f"schema {_shown(value.get('schema'))} is unknown; this version reads schema {SCHEMA}")
        needed = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]
        if missing := [name for name in needed if name not in value]:
            raise ModelError(f"its {METADATA_KEY!r} metadata lacks {', '.join(missing)}")
        known = {f.name for f in fields(cls)}
        return cls(**{name: item for name, item in value.items() if name in known})


def _shown(value: object) -> str:
    return reprlib.repr(value)  # clipped: somebody else's value may be of any size


def _template(value: object) -> Template:
    """JSON has lists where we have tuples."""
    points = value if isinstance(value, list | tuple) else ()
    pairs = [point for point in points if isinstance(point, list | tuple) and len(point) == 2]
    numbers = [number for point in pairs for number in point if _is_number(number) and -1 <= number <= 2]
    if not (len(points) == len(pairs) == 5 and len(numbers) == 10) or len(set(map(tuple, pairs))) < 5:
        raise ModelError(f"template {_shown(value)} is not five different points (x, y) in shares of the side")
    return tuple((float(x), float(y)) for x, y in pairs)


def _is_number(value: object) -> bool:
    # The bounds leave out NaN, the infinities, and whole numbers that no float holds.
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e6 < value < 1e6


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")  # which Python reads and writes nevertheless
