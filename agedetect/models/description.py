"""model.json of a registered model: which layers to build, read as data and checked field by field."""

from __future__ import annotations

import json
import stat
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from agedetect.errors import ConfigError
from agedetect.models.backbones import ARCHITECTURES
from agedetect.models.timm_backbones import Arguments, check_architecture, is_timm
from agedetect_runtime import ModelError, ModelSpec
from agedetect_runtime.spec import MAX_AGE, MIN_AGE

FORMAT = 1
MAX_IMAGE_SIZE = 1024  # pixels; the weights of a convolutional network don't bound it
_MAX_BYTES = 16 * 2**20  # most of it the card
_MAX_KNOTS = 16
_KINDS = {"format": int, "difficulty_knots": int, "flip_tta": bool, "backbone_arguments": dict}
_KIND_NAMES = {int: "a whole number", bool: "true or false", dict: "an object"}


@dataclass(frozen=True, kw_only=True)
class Description:
    """What decides the layers of a network: `spec` names the backbone and the head, the others complete it.

    `backbone_arguments` are those of a timm backbone. `difficulty_knots` is the number of knots of a DifficultyLayer, 0
    for a QuantileLayer.
    """

    spec: ModelSpec
    backbone_arguments: Arguments
    difficulty_knots: int
    flip_tta: bool
    format: int = FORMAT

    def __post_init__(self) -> None:
        for name, kind in _KINDS.items():
            if type(getattr(self, name)) is not kind:  # isinstance would take true for 1
                raise ModelError(f"{name} is not {_KIND_NAMES[kind]}")
        if self.format != FORMAT:
            raise ModelError(f"its format is unknown; this version reads format {FORMAT}")
        if self.difficulty_knots != 0 and not 2 <= self.difficulty_knots <= _MAX_KNOTS:
            raise ModelError(f"difficulty_knots is neither 0 nor from 2 to {_MAX_KNOTS}")
        if (self.spec.head == "distribution") != (self.difficulty_knots == 0):
            raise ModelError(f"a {self.spec.head} head does not go with this number of difficulty_knots")
        _check_spec(self.spec)
        _check_backbone(self.spec, self.backbone_arguments)

    def write_json(self) -> str:
        values = {**asdict(self), "spec": json.loads(self.spec.to_json())}
        return json.dumps(values, indent=1, allow_nan=False) + "\n"


def read_description(path: Path) -> Description:
    """Raises ModelError, without the file's name, for what `write_json` doesn't write, and OSError."""
    require_file(path)
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ModelError(f"it has more than {_MAX_BYTES:,} bytes")
    values = _json_object(data)
    names = {item.name for item in fields(Description)}
    if values.keys() != names or not isinstance(values["spec"], dict):
        raise ModelError(f"its fields are not {', '.join(sorted(names))}")
    spec = ModelSpec.from_json(json.dumps(values.pop("spec")))
    return Description(spec=spec, **values)


def require_file(path: Path) -> None:
    """Raises ModelError for a pipe, say, which could be waited for forever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ModelError("not a regular file")


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ModelError("not JSON") from error
    if not isinstance(values, dict):
        raise ModelError("not a JSON object")
    return values


def _check_spec(spec: ModelSpec) -> None:
    """What the runtime accepts but none of our networks is."""
    if spec.image_size > MAX_IMAGE_SIZE:
        raise ModelError(f"image_size {spec.image_size} is more than {MAX_IMAGE_SIZE}")
    if (spec.min_age, spec.max_age) != (MIN_AGE, MAX_AGE):
        raise ModelError(f"ages {spec.min_age:g} to {spec.max_age:g} are not {MIN_AGE:g} to {MAX_AGE:g}")
    if spec.coverage is None or spec.precision != "float32":
        raise ModelError("it is not a float32 model with intervals")


def _check_backbone(spec: ModelSpec, arguments: Arguments) -> None:
    if is_timm(spec.backbone):
        try:
            check_architecture(spec.backbone, arguments)
        except ConfigError as error:
            raise ModelError(str(error)) from error
        return
    if spec.backbone not in ARCHITECTURES or arguments:
        raise ModelError(f"backbone {spec.backbone[:80]!r} is none of {', '.join(ARCHITECTURES)}, nor timm/NAME")
    if spec.resampling != ARCHITECTURES[spec.backbone].resampling:
        raise ModelError(f"resampling {spec.resampling} is not that of {spec.backbone}")
