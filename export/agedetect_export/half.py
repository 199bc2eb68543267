"""float32 -> float16 between the normalised face and the last layer, for GPUs: half the bytes, twice the rate."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from agedetect_export.graph import Graph

_HALVED = {"Conv", "Gemm", "Add", "Mul", "Sigmoid", "Clip", "Relu", "MaxPool", "GlobalAveragePool"}
_LARGEST = float(np.finfo(np.float16).max)


def halve(model: onnx.ModelProto) -> onnx.ModelProto:
    """Scaling and normalisation, the last layer and what makes ages of it stay in float32.

    At 60 years a float16 has steps of 1/32 of a year, and a sum over a hundred bins would add such steps up. ONNX
    Runtime's own converter is not used: it rounds what passes between two nodes that are to stay in float32.
    """
    graph = Graph(model)
    upstream = graph.ancestors(node.input[0] for node in graph.of_type("Gemm"))
    halved = [node for node in graph.of_type(*_HALVED) if node.name in upstream]
    inside = {value for node in halved for value in node.output}
    for node in halved:
        for index, value in enumerate(node.input):
            if value and value not in inside:
                node.input[index] = _halved_input(graph, value)
    for node in halved:
        _widen_output(graph, node, {item.name for item in halved})
    graph.prune()
    graph.sort()
    return graph.model


def _halved_input(graph: Graph, value: str) -> str:
    """The name of `value` in float16: a constant's copy, or what a Cast makes of it."""
    name = f"{value}.half"
    constant = graph.constant(value)
    if graph.constant(name) is not None or graph.producer(name) is not None:
        return name
    if constant is not None:
        weights = np.clip(constant, -_LARGEST, _LARGEST).astype(np.float16)
        graph.add_constant(numpy_helper.from_array(weights, name))
    else:
        cast = helper.make_node("Cast", [value], [name], name=name, to=TensorProto.FLOAT16)
        graph.add(cast)
    return name


def _widen_output(graph: Graph, node: NodeProto, halved: set[str]) -> None:
    """Nodes outside read float32."""
    (value,) = node.output
    outside = [taker for taker in graph.consumers(value) if taker.name not in halved]
    if not outside:
        return
    name = f"{value}.wide"
    for taker in outside:
        for index, read in enumerate(taker.input):
            if read == value:
                taker.input[index] = name
    graph.add(helper.make_node("Cast", [value], [name], name=name, to=TensorProto.FLOAT))
