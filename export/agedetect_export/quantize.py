"""float32 -> int8: weights per channel, activations as uint8, in the QDQ form that ONNX Runtime fuses.

uint8 activations with int8 weights are what x86 multiplies fastest (VNNI): int8 for both measured 2.5 times slower.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import TensorsData

from agedetect_export.activations import Faces, observe
from agedetect_export.equalize import bias_shifts, equalize
from agedetect_export.graph import Graph

_LAYERS = ("Conv", "Gemm")
_NO_CLIP_LOW, _NO_CLIP_HIGH = "lowest float", "highest float"
_QUANTIZED = (*_LAYERS, "Add", "Mul", "Sigmoid", "Clip", "Relu", "MaxPool", "GlobalAveragePool")


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer with the activation that follows it: in int8 together, or in float together."""

    name: str
    nodes: frozenset[str]


class Quantizer:
    """Prepares a float graph once; `build` then quantizes it with some layers left in float.

    Everything up to the last linear layer is eligible. That layer and what makes ages of it stay in float: they cost
    no time, and a step of theirs is a step in years.
    """

    def __init__(self, model: onnx.ModelProto, faces: Faces) -> None:
        """`model` as `cleanup.simplify` leaves it; `faces`, (N, S, S, 3), calibrate."""
        graph = Graph(equalize(_centre(model), faces))
        eligible = _eligible(graph)
        values = sorted({value for node in eligible for value in _float_values(graph, node)})
        found = observe(graph.model, faces, values)
        limits = {value: (item.lowest.min(), item.highest.max()) for value, item in found.items()}
        self._graph = graph
        self._shifts = bias_shifts(graph.model, faces)
        self._limits = {name: (np.float32(low), np.float32(high)) for name, (low, high) in limits.items()}
        self._nodes = [node.name for node in eligible]
        self.layers = _layers(graph, eligible)

    def build(self, kept: Collection[str] = ()) -> onnx.ModelProto:
        """The int8 graph, with the layers named in `kept` in float."""
        graph = Graph(self._graph.model)
        floats = {node for layer in self.layers if layer.name in kept for node in layer.nodes}
        for name, conv in {conv.input[1]: conv for conv in graph.of_type("Conv") if conv.name not in floats}.items():
            graph.set_weights(conv.input[2], graph.bias_of(conv) - self._shifts[name])
        overrides = {}
        for item in _byte_inputs(self._graph):
            scale, zero = np.array(1, np.float32), np.array(item.centre, np.uint8)
            overrides[item.value] = [{"scale": scale, "zero_point": zero}]
        quantizer = QDQQuantizer(
            graph.model,
            True,  # per channel
            False,  # no reduced range: that is for processors without VNNI
            QuantType.QInt8,
            QuantType.QUInt8,
            TensorsData(CalibrationMethod.MinMax, dict(self._limits)),
            [name for name in self._nodes if name not in floats],
            [],
            list(_QUANTIZED),
            {"TensorQuantOverrides": overrides},
        )
        quantizer.quantize_model()
        return _keep_float(_feed_bytes(quantizer.model.model), floats)


def _centre(model: onnx.ModelProto) -> onnx.ModelProto:
    """Subtract one whole number, not a mean for each channel: a byte and a zero point then say the input exactly.

    The rest of the means goes into the bias, which is wrong along the padded border, by some 0.05 years.
    """
    graph = Graph(model)
    for centring in graph.of_type("Sub"):
        mean = graph.constant(centring.input[1])
        takers = graph.consumers(centring.output[0])
        if mean is None or mean.size != 3 or graph.made_by(centring.input[0], "Cast") is None:
            continue
        if any(node.op_type != "Conv" for node in takers):
            continue
        centre = np.round(mean.mean())
        for conv in takers:
            bias, weights = graph.bias_of(conv), graph.weights(conv.input[1])
            graph.set_weights(conv.input[2], bias + (weights * (centre - mean).reshape(1, 3, 1, 1)).sum((1, 2, 3)))
        graph.set_weights(centring.input[1], np.array(centre))
    return graph.model


@dataclass(frozen=True)
class _ByteInput:
    """`value` is the float of the byte `source`, less `centre`."""

    value: str
    source: str
    centre: int


def _byte_inputs(graph: Graph) -> list[_ByteInput]:
    found = []
    for centring in graph.of_type("Sub"):
        centre, cast = graph.constant(centring.input[1]), graph.made_by(centring.input[0], "Cast")
        if centre is not None and centre.size == 1 and cast is not None and centre == np.round(centre):
            found.append(_ByteInput(centring.output[0], cast.input[0], int(centre)))
    return found


def _feed_bytes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Let the first layer read the bytes of the faces: byte, float, less the centre, byte again is the same byte."""
    graph = Graph(model)
    for item in _byte_inputs(graph):
        rounding = graph.only_consumer(item.value, "QuantizeLinear")
        if rounding is not None:
            graph.bypass(rounding, item.source)
    graph.prune()
    graph.sort()
    return graph.model


def _keep_float(model: onnx.ModelProto, nodes: Collection[str]) -> onnx.ModelProto:
    """Hide from ONNX Runtime that these read and make bytes: it would round their weights, one scale for all channels.

    It does so to any convolution between a DequantizeLinear and a QuantizeLinear (WeightBiasQuantization), as it
    opens the file. A clip that clips nothing stands in the way.
    """
    graph = Graph(model)
    for name, bound in ((_NO_CLIP_LOW, np.finfo(np.float32).min), (_NO_CLIP_HIGH, np.finfo(np.float32).max)):
        graph.add_constant(numpy_helper.from_array(np.array(bound, np.float32), name))
    for node in graph.of_type(*_LAYERS):
        if node.name in nodes and graph.made_by(node.input[0], "DequantizeLinear") is not None:
            value = f"{node.input[0]} for {node.name}"
            clip = helper.make_node("Clip", [node.input[0], _NO_CLIP_LOW, _NO_CLIP_HIGH], [value], name=value)
            node.input[0] = value
            graph.add(clip)
    graph.prune()
    graph.sort()
    return graph.model


def _eligible(graph: Graph) -> list[NodeProto]:
    linear = {node.input[0] for node in graph.of_type("Gemm")}
    upstream = graph.ancestors(linear)
    return [node for node in graph.of_type(*_QUANTIZED) if node.name in upstream]


def _float_values(graph: Graph, node: NodeProto) -> list[str]:
    """What `node` reads and makes, but for constants."""
    inputs = [node.input[0]] if node.op_type in (*_LAYERS, "Clip") else list(node.input)
    return [value for value in [*inputs, *node.output] if value and graph.constant(value) is None]


def _layers(graph: Graph, eligible: list[NodeProto]) -> tuple[Layer, ...]:
    """By the name of the weights, which two branches may share; in the graph's order."""
    members: dict[str, set[str]] = {}
    for node in eligible:
        if node.op_type in _LAYERS:
            after = [taker for taker in graph.consumers(node.output[0]) if taker.op_type in ("Clip", "Relu", "Sigmoid")]
            gates = [gate for item in after if item.op_type == "Sigmoid" for gate in graph.consumers(item.output[0])]
            group = {node.name, *(item.name for item in after), *(gate.name for gate in gates)}
            members.setdefault(node.input[1], set()).update(group)
    return tuple(Layer(name.removesuffix(".weight"), frozenset(nodes)) for name, nodes in members.items())
