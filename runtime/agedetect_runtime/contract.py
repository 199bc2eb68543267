"""What makes a session one of our models: the spec, and the graph that the spec promises."""

from __future__ import annotations

from typing import Any

from agedetect_runtime.errors import ModelError
from agedetect_runtime.modelfile import REMEDY
from agedetect_runtime.spec import METADATA_KEY, PICTURE, ModelSpec

NOT_TEXT = "its names or its metadata are not text"


def read_contract(session: Any, name: str) -> ModelSpec:
    """The spec of an ONNX Runtime session. Raises ModelError, beginning with `name`, where the graph breaks it."""
    try:
        spec = _read_spec(session, name)
        _check_graph(session, spec, name)
    except UnicodeDecodeError as error:
        raise ModelError(f"{name}: {NOT_TEXT}; {REMEDY}") from error
    return spec


def _read_spec(session: Any, name: str) -> ModelSpec:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ModelError(f"{name}: no {METADATA_KEY!r} metadata; {REMEDY}")
    try:
        return ModelSpec.from_json(text)
    except ModelError as error:
        raise ModelError(f"{name}: {error}; {REMEDY}") from error


def _check_graph(session: Any, spec: ModelSpec, name: str) -> None:
    """The input that the spec names. Outputs: first the ones that the spec names, then any others."""
    check_input = _check_picture if spec.input == PICTURE else _check_faces
    check_input(session.get_inputs(), spec, name)
    outputs = session.get_outputs()
    names = [node.name for node in outputs]
    expected = list(spec.outputs)
    if names[: len(expected)] != expected or set(names[len(expected) :]) & {"low", "high"}:
        raise ModelError(f"{name}: its outputs {names} do not start with exactly {expected}; {REMEDY}")
    for node in outputs[: len(expected)]:
        columns = [spec.bins] if node.name == "probabilities" else []
        if node.type != "tensor(float)" or node.shape[1:] != columns:
            shape = f"(batch, {spec.bins})" if columns else "(batch,)"
            raise ModelError(f"{name}: its output {node.name} is not float32 {shape}; {REMEDY}")


def _check_faces(inputs: list[Any], spec: ModelSpec, name: str) -> None:
    size = spec.image_size
    shapes = [(node.name, node.type, node.shape[1:]) for node in inputs]
    if shapes != [("faces", "tensor(uint8)", [size, size, 3])]:
        raise ModelError(f"{name}: its input is not faces, uint8 (batch, {size}, {size}, 3); {REMEDY}")
    if isinstance(inputs[0].shape[0], int):
        raise ModelError(f"{name}: its batch is fixed at {inputs[0].shape[0]}; {REMEDY}")


def _check_picture(inputs: list[Any], spec: ModelSpec, name: str) -> None:
    """Of any size: the height and the width have names."""
    shapes = [(node.name, node.type, [side for side in node.shape if isinstance(side, int)]) for node in inputs]
    if shapes != [("picture", "tensor(uint8)", [1, 3])]:
        raise ModelError(f"{name}: its input is not picture, uint8 (1, height, width, 3); {REMEDY}")
