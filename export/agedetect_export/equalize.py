"""What a network with depthwise convolutions needs before its activations are rounded, a whole tensor on one scale.

Cross-layer equalization and bias correction: Nagel et al., "Data-Free Quantization Through Weight Equalization and
Bias Correction", ICCV 2019, here with ranges and means seen on faces. Both change an `ir.Model` in place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

Faces = NDArray[np.uint8]
Array = NDArray[np.float64]
_BATCH = 8
# A channel that is hardly ever used stays small: scaled up, it would turn rounding into noise elsewhere.
_LARGEST_FACTOR = 64.0
# ReLU6 clips at six. No channel is scaled so far that what was seen, and a fifth more, would touch that.
_HEADROOM = 1.2


class Channels(NamedTuple):
    """(C,) each: the largest absolute value and the mean of each channel of a tensor (B, C, H, W)."""

    largest: Array
    mean: Array


class _Pair(NamedTuple):
    """Two convolutions with nothing but an activation between them: `value` is read by the second alone."""

    first: ir.Node
    second: ir.Node
    value: ir.Value
    bound: float


def separate_weights(model: ir.Model) -> None:
    """Give every convolution weights of its own: in a test-time flip two share them, which would be changed twice."""
    for node in _convolutions(model):
        for index in (1, 2):
            shared = _value(node.inputs[index])
            if len(shared.uses()) > 1:
                own = ir.Value(name=f"{node.outputs[0].name}.{index}")
                own.const_value = ir.tensor(array(shared).astype(np.float32), name=own.name)
                model.graph.register_initializer(own)
                node.replace_input_with(index, own)


def equalize(model: ir.Model, faces: Faces) -> None:
    """Bring the channels between two convolutions to like size; ages stay as they are. Weights must be separate.

    A channel takes half of its scale from the weights that read it (SmoothQuant's alpha; Xiao et al., ICML 2023), since
    they are rounded too; all of it from a depthwise convolution's, which have a scale for each channel.
    """
    pairs = list(_pairs(model))
    seen = observe(model, faces, [pair.value for pair in pairs])
    for pair, channels in zip(pairs, seen, strict=True):
        weights = array(pair.second.inputs[1])
        per_group = weights.shape[1]  # 1 in a depthwise convolution
        top = max(channels.largest.max(), 1e-9)
        sizes = np.maximum(channels.largest, top / _LARGEST_FACTOR)
        wanted = (top / sizes) ** (1.0 if per_group == 1 else 0.5)
        factors = np.minimum(wanted, pair.bound / (_HEADROOM * sizes)).clip(1.0)
        _replace(pair.first.inputs[1], array(pair.first.inputs[1]) * factors[:, None, None, None])
        _replace(pair.first.inputs[2], array(pair.first.inputs[2]) * factors)
        by_group = factors.reshape(-1, per_group)
        by_output = by_group.repeat(len(weights) // len(by_group), axis=0)
        _replace(pair.second.inputs[1], weights / by_output[:, :, None, None])


def correct_biases(model: ir.Model, faces: Faces) -> None:
    """Take from each convolution's bias what rounding its weights to int8 adds to the mean of its channels.

    Weights must be separate, and are final: whatever changes them comes before.
    """
    convolutions = _convolutions(model)
    seen = observe(model, faces, [_value(node.inputs[0]) for node in convolutions])
    for node, channels in zip(convolutions, seen, strict=True):
        weights = array(node.inputs[1])
        scale = np.abs(weights).max((1, 2, 3), keepdims=True).clip(1e-12) / 127
        error = (np.round(weights / scale) * scale - weights).sum((2, 3))
        mean = channels.mean.reshape(-1, error.shape[1])  # (groups, inputs of each)
        shift = np.einsum("goi,gi->go", error.reshape(len(mean), -1, error.shape[1]), mean).ravel()
        _replace(node.inputs[2], array(node.inputs[2]) - shift)


def observe(model: ir.Model, faces: Faces, values: Sequence[ir.Value]) -> list[Channels]:
    """The channels of `values` over `faces`, (N, S, S, 3)."""
    if not values:
        return []
    watched = ir.from_proto(ir.to_proto(model))
    made = {value.name: value for node in watched.graph for value in node.outputs}
    names = [value.name or "" for value in values]
    watched.graph.outputs[:] = [made[name] for name in dict.fromkeys(names)]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: its warnings are about graph optimisation
    session = onnxruntime.InferenceSession(
        ir.to_proto(watched).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    largest: dict[str, Array] = defaultdict(lambda: np.zeros(1))
    total: dict[str, Array] = defaultdict(lambda: np.zeros(1))
    outputs = [output.name for output in session.get_outputs()]
    for start in range(0, len(faces), _BATCH):
        for name, found in zip(outputs, session.run(outputs, {"faces": faces[start : start + _BATCH]}), strict=True):
            largest[name] = np.maximum(largest[name], np.abs(found).max((0, 2, 3)))
            total[name] = total[name] + found.mean((2, 3)).sum(0, dtype=np.float64)
    return [Channels(largest[name], total[name] / len(faces)) for name in names]


def is_constant(value: ir.Value | None) -> bool:
    return value is not None and ir.convenience.get_const_tensor(value) is not None


def array(value: ir.Value | None) -> Array:
    """Raises ValueError where `value` is no constant."""
    tensor = ir.convenience.get_const_tensor(_value(value))
    if tensor is None:
        raise ValueError(f"{value} is no constant")
    return tensor.numpy().astype(np.float64)


def _convolutions(model: ir.Model) -> list[ir.Node]:
    """The two-dimensional ones with a bias, whose weights are constants."""
    return [
        node
        for node in model.graph
        if node.op_type == "Conv"
        and len(node.inputs) == 3
        and all(is_constant(value) for value in node.inputs[1:])
        and array(node.inputs[1]).ndim == 4
    ]


def _pairs(model: ir.Model) -> Iterator[_Pair]:
    convolutions = _convolutions(model)
    for second in convolutions:
        value = _value(second.inputs[0])
        first, bound = value.producer(), np.inf
        if first is not None and first.op_type in ("Relu", "Clip"):
            bound = _upper_bound(first)
            made = _value(first.inputs[0])
            first = made.producer() if len(made.uses()) == 1 else None
        if first is not None and first in convolutions and len(value.uses()) == 1 and bound > 0:
            yield _Pair(first, second, value, bound)


def _upper_bound(activation: ir.Node) -> float:
    """Of ReLU or ReLU6; zero for a clip that is neither."""
    if activation.op_type == "Relu":
        return np.inf
    limits = activation.inputs[1:]
    if len(limits) != 2 or not all(is_constant(value) for value in limits) or array(limits[0]) != 0:
        return 0.0
    return float(array(limits[1]))


def _replace(value: ir.Value | None, values: Array) -> None:
    _value(value).const_value = ir.tensor(values.astype(np.float32), name=_value(value).name)


def _value(value: ir.Value | None) -> ir.Value:
    if value is None:
        raise ValueError("an input is missing")
    return value
