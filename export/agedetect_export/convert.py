"""A torch program -> one self-contained ONNX file that says what it is."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnxscript  # noqa: F401 (torch imports it only once it converts)
import torch
from onnx import TensorProto
from onnx.external_data_helper import uses_external_data

from agedetect_runtime import ModelError, ModelSpec
from agedetect_runtime.spec import FACES, METADATA_KEY, PICTURE

# The newest that onnxruntime 1.20 implements (ONNX 1.16), the oldest one that the package's extras admit: a
# newer opset has no operator that these networks use, and would shut those users out.
OPSET = 21

BATCH_NAME = "batch"

_Interface = tuple[str, int, tuple[str | int, ...]]


def convert(program: torch.nn.Module, spec: ModelSpec, path: Path) -> None:
    """Write `program` (faces, uint8 (B, S, S, 3) -> years, float32 (B,)) to `path`, any batch size B.

    Raises ModelError where the program's outputs are not what `spec` promises, or where the graph breaks
    the contract that the runtime relies on.
    """
    example = torch.arange(2 * spec.image_size**2 * 3).remainder(256).to(torch.uint8)
    faces = example.reshape(2, spec.image_size, spec.image_size, 3)
    _check_outputs(program, faces, spec)
    save(trace(program, faces, spec), spec, path)


def save(model: onnx.ModelProto, spec: ModelSpec, path: Path) -> None:
    """Write a graph under the contract of `spec`; raises ModelError where it breaks it."""
    _set_spec(model, spec)
    _check_graph(model, spec)
    path.write_bytes(model.SerializeToString(deterministic=True))


def write_spec(path: Path, spec: ModelSpec) -> None:
    """Replace what the file at `path` says about itself; the graph stays as it is."""
    model = onnx.load(path, load_external_data=False)
    _set_spec(model, spec)
    path.write_bytes(model.SerializeToString(deterministic=True))


def trace(program: torch.nn.Module, faces: torch.Tensor, spec: ModelSpec) -> onnx.ModelProto:
    """`faces` holds two images: torch would take a batch of one for a constant."""
    return to_onnx(program, faces, {0: torch.export.Dim(BATCH_NAME)}, inputs=[FACES], outputs=spec.outputs)


def to_onnx(
    program: torch.nn.Module,
    example: torch.Tensor,
    dynamic: Mapping[int, object],
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> onnx.ModelProto:
    """The graph of a program of one tensor, of which the dimensions in `dynamic` may have any size."""
    try:
        with _quiet():
            traced = torch.onnx.export(
                program,
                (example,),
                dynamo=True,
                external_data=False,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=(dict(dynamic),),
                opset_version=OPSET,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ModelError(f"torch.onnx can't convert it: {' '.join(str(error).split())[:300]}") from error
    if traced is None:
        raise ModelError("torch.onnx converted nothing; check that torch and onnxscript fit each other")
    model: onnx.ModelProto = traced.model_proto
    _strip_traces(model)
    return model


def _check_outputs(program: torch.nn.Module, faces: torch.Tensor, spec: ModelSpec) -> None:
    with torch.inference_mode():
        outputs = program(faces)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    shapes = [(tuple(output.shape), output.dtype) for output in outputs]
    wanted = [((len(faces), *_columns(name, spec)), torch.float32) for name in spec.outputs]
    if shapes != wanted:
        raise ModelError(f"the program gives {shapes} for two faces; wanted {wanted} as {', '.join(spec.outputs)}")


def _columns(output: str, spec: ModelSpec) -> tuple[int, ...]:
    return (spec.bins,) if output == "probabilities" else ()


def _strip_traces(model: onnx.ModelProto) -> None:
    """Drop torch's notes: stack traces with the paths of the machine, and most of a small file's size."""
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for value in (*model.graph.input, *model.graph.output):
        value.ClearField("metadata_props")
    model.ClearField("metadata_props")


def _set_spec(model: onnx.ModelProto, spec: ModelSpec) -> None:
    onnx.helper.set_model_props(model, {METADATA_KEY: spec.to_json()})


def _check_graph(model: onnx.ModelProto, spec: ModelSpec) -> None:
    """Raises ModelError where the graph is no valid ONNX, or not what every client relies on."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"onnx.checker refuses the graph: {' '.join(str(error).split())[:300]}") from error
    size, batch = spec.image_size, 1 if spec.input == PICTURE else BATCH_NAME
    sides = ("height", "width") if spec.input == PICTURE else (size, size)
    wanted: list[_Interface] = [(spec.input, TensorProto.UINT8, (batch, *sides, 3))]
    wanted += [(name, TensorProto.FLOAT, (batch, *_columns(name, spec))) for name in spec.outputs]
    values = [*model.graph.input, *model.graph.output]
    found = [_interface(value) for value in values]
    if found != wanted:
        raise ModelError(f"the graph's inputs and outputs are {found}, wanted {wanted}")
    if any(uses_external_data(tensor) for tensor in model.graph.initializer):
        raise ModelError("the graph keeps weights in another file; it must be self-contained")


def _interface(value: onnx.ValueInfoProto) -> _Interface:
    tensor = value.type.tensor_type
    return value.name, tensor.elem_type, tuple(d.dim_param or d.dim_value for d in tensor.shape.dim)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's chatter from the user's terminal: its verdict is the checks that follow."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
