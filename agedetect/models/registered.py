"""What is registered: weights and a description of the network, as data. Nothing in it is evaluated or unpickled.

A folder of three files: `weights.safetensors`, `model.json` (which layers to build, and the ModelSpec) and the model
card. Loading builds the network from our own code and fills it key by key, after names, shapes and types were compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from agedetect.models.conformal import ConformalLayer, DifficultyLayer, QuantileLayer
from agedetect.models.description import Description, read_description, require_file
from agedetect.models.inference import CalibratedModel
from agedetect.models.model import build_model
from agedetect_runtime import AgedetectError, ModelError, ModelSpec
from agedetect_runtime.atomic import write_whole

WEIGHTS, DESCRIPTION, CARD = "weights.safetensors", "model.json", "model_card.md"
REMEDY = "train it again with `agedetect train`"

_MAX_HEADER_BYTES = 2**20  # ResNet-50's takes 40 kB
_DTYPES = {torch.float32: "F32", torch.int64: "I64"}


def save_registered(model: CalibratedModel, spec: ModelSpec, folder: Path) -> None:
    """Write the three files into `folder`, which is created."""
    knots = len(model.conformal.knots) if isinstance(model.conformal, DifficultyLayer) else 0
    description = Description(
        spec=spec,
        backbone_arguments=dict(model.model.arguments),
        difficulty_knots=knots,
        flip_tta=model.model.flip_tta,
    )
    write_whole(folder / DESCRIPTION, description.write_json())
    write_whole(folder / CARD, spec.card)
    save_file({name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}, folder / WEIGHTS)


def load_registered(folder: Path) -> tuple[CalibratedModel, ModelSpec]:
    """The model, on the CPU and in evaluation mode, and its spec.

    Raises ModelError, beginning with the file's name, where a file is missing, damaged or not what this version writes.
    """
    with _one_line(DESCRIPTION):
        description = read_description(folder / DESCRIPTION)
    with _one_line(WEIGHTS):
        with torch.device("meta"):
            expected = _build(description).state_dict()
        _check_header(folder / WEIGHTS, expected)
        state = load_file(folder / WEIGHTS)
        _require_finite(state)
        model = _build(description)
        model.load_state_dict(state, strict=True)
    return model.eval(), description.spec


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, AgedetectError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:300]
        raise ModelError(f"{name}: {reason}; {REMEDY}") from error


def _build(description: Description) -> CalibratedModel:
    spec = description.spec
    if spec.coverage is None:
        raise ModelError("it has no intervals")
    conformal: ConformalLayer = QuantileLayer(spec.coverage)
    if description.difficulty_knots:
        years = np.arange(description.difficulty_knots, dtype=np.float64)
        conformal = DifficultyLayer(spec.coverage, years, years)
    model = build_model(
        spec.backbone,
        "none",
        head=spec.head,
        flip_tta=description.flip_tta,
        image_size=spec.image_size,
        arguments=description.backbone_arguments,
    )
    return CalibratedModel(model, conformal)


def _check_header(path: Path, expected: dict[str, Tensor]) -> None:
    """Compare names, shapes and types with the network's before anything is allocated."""
    require_file(path)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > min(_MAX_HEADER_BYTES, path.stat().st_size):
        raise ModelError(f"it declares a header of {length:,} bytes")
    with safe_open(path, framework="pt") as weights:
        found = {name: weights.get_slice(name) for name in weights.keys()}  # noqa: SIM118 (it is no mapping)
        shapes = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in found.items()}
    wanted = {name: (tuple(tensor.shape), _DTYPES[tensor.dtype]) for name, tensor in expected.items()}
    _refuse("lacks", wanted.keys() - shapes.keys())
    _refuse("has unknown", shapes.keys() - wanted.keys())
    _refuse("has another shape or type for", (name for name in wanted if shapes[name] != wanted[name]))


def _refuse(what: str, names: Iterable[str]) -> None:
    if listed := sorted(names):
        more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
        raise ModelError(f"does not fit the network: {what} {', '.join(repr(name[:80]) for name in listed[:3])}{more}")


def _require_finite(state: dict[str, Tensor]) -> None:
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelError(f"{name} holds numbers that are not finite")
