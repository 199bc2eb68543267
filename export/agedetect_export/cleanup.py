"""What a traced graph carries without need: taken out where the ages stay the same, which parity then proves."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, helper

from agedetect_export.graph import Graph, attribute

_SPATIAL = [2, 3]


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold batch norm and the division by the deviation into convolutions, and say "average" as ONNX does.

    The mean stays a subtraction: a convolution pads with zeros after it, and a mean moved into the bias would be
    wrong along the borders. Dividing commutes with that padding, so it folds exactly.
    """
    graph = Graph(model)
    _fold_batch_norms(graph)
    _drop_identity_gathers(graph)
    _name_averages(graph)
    _fold_deviation(graph)
    graph.prune()
    graph.sort()
    return graph.model


def _fold_batch_norms(graph: Graph) -> None:
    """torch's converter folds them too, but not where two convolutions share their weights, as with --flip-average."""
    folded: dict[str, list[str]] = {}
    for norm in graph.of_type("BatchNormalization"):
        conv = graph.made_by(norm.input[0], "Conv")
        if conv is None or graph.only_consumer(norm.input[0], "BatchNormalization") is None:
            continue
        name, statistics = conv.input[1], list(norm.input[1:])
        bias = graph.bias_of(conv)
        if name not in folded:
            scale, shift, mean, variance = (graph.weights(value) for value in statistics)
            factor = scale / np.sqrt(variance + float(str(attribute(norm, "epsilon", 1e-5))))
            graph.set_weights(name, graph.weights(name) * factor[:, None, None, None])
            graph.set_weights(conv.input[2], (bias - mean) * factor + shift)
            folded[name] = statistics
        elif folded[name] != statistics:
            raise ValueError(f"{name}: one convolution under two batch norms")
        graph.bypass(norm, conv.output[0])


def _drop_identity_gathers(graph: Graph) -> None:
    """torch traces the average of a channels-last image as a copy, element by element in the order they are in."""
    for gather in graph.of_type("Gather"):
        flat = graph.made_by(gather.input[0], "Reshape")
        average = None if flat is None else graph.made_by(flat.input[0], "ReduceMean")
        if average is not None and _is_spatial(graph, average):
            graph.bypass(gather, average.output[0])


def _name_averages(graph: Graph) -> None:
    """GlobalAveragePool is what quantization knows."""
    for node in graph.of_type("ReduceMean"):
        if _is_spatial(graph, node):
            graph.add(helper.make_node("GlobalAveragePool", [node.input[0]], list(node.output), name=node.name))
            graph.remove(node)


def _is_spatial(graph: Graph, mean: NodeProto) -> bool:
    axes = graph.constant(mean.input[1]) if len(mean.input) > 1 else None
    return axes is not None and sorted(axes % 4) == _SPATIAL and attribute(mean, "keepdims", 1) == 1


def _fold_deviation(graph: Graph) -> None:
    """(faces - mean) / deviation into a convolution: its weights are divided instead, once for all that share them."""
    for name in {conv.input[1] for conv in graph.of_type("Conv")}:
        divisions = [graph.made_by(conv.input[0], "Div") for conv in graph.consumers(name)]
        deviations = [None if node is None else graph.constant(node.input[1]) for node in divisions]
        first = deviations[0]
        if first is None or first.size not in (1, 3):
            continue
        if not all(other is not None and np.array_equal(first, other) for other in deviations):
            continue
        if any(len(graph.consumers(node.output[0])) != 1 for node in divisions if node is not None):
            continue
        graph.set_weights(name, graph.weights(name) / first.reshape(1, -1, 1, 1))
        for node in divisions:
            if node is not None:
                graph.bypass(node, node.input[0])
