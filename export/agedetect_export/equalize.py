"""Channels of one tensor brought to one scale, so that eight bits for the whole tensor are enough for each of them.

Cross-layer equalization and bias correction: Nagel et al., "Data-Free Quantization Through Weight Equalization and
Bias Correction", ICCV 2019, here with ranges and means that were observed on faces.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto

from agedetect_export.activations import Channels, Faces, observe
from agedetect_export.graph import Graph, groups_of

_PASSES_SCALE_ON = {"Add", "Clip", "Relu", "MaxPool"}
# A channel that is hardly ever used stays small: blown up, it would turn rounding into noise elsewhere.
_LARGEST_FACTOR = 64.0
# ReLU6 clips at six. No channel is scaled so far that what was seen, and a fifth more, would touch that.
_HEADROOM = 1.2
# Half of a channel's scale is taken by the weights that read it (SmoothQuant's alpha; Xiao et al., ICML 2023): they are
# rounded too. A depthwise convolution rounds each channel by itself, and takes all of it.
_SHARE = 0.5


@dataclass(frozen=True)
class _Tied:
    """Values that must keep one scale: what convolutions make, and what residual sums and activations make of it."""

    values: frozenset[str]
    makers: tuple[NodeProto, ...]
    takers: tuple[NodeProto, ...]
    bound: float | None


def equalize(model: onnx.ModelProto, faces: Faces) -> onnx.ModelProto:
    """The same function, up to rounding, with channels of like size wherever only convolutions see them."""
    graph = Graph(model)
    groups = _tied_values(graph)
    observed = observe(model, faces, sorted({value for group in groups for value in group.values}))
    for group in groups:
        factors = _factors(graph, group, observed)
        for name in {conv.input[1] for conv in group.makers}:
            graph.set_weights(name, graph.weights(name) * factors[:, None, None, None])
        for name in {conv.input[2] for conv in group.makers}:
            graph.set_weights(name, graph.weights(name) * factors)
        for name, conv in {conv.input[1]: conv for conv in group.takers}.items():
            by_input = factors[:, None, None, None] if groups_of(conv) > 1 else factors[None, :, None, None]
            graph.set_weights(name, graph.weights(name) / by_input)
    return graph.model


def bias_shifts(model: onnx.ModelProto, faces: Faces) -> dict[str, NDArray[np.float64]]:
    """By the name of a convolution's weights, (C,): what rounding them to int8 adds to the mean of each channel."""
    graph = Graph(model)
    convs = {conv.input[1]: conv for conv in graph.of_type("Conv")}
    observed = observe(model, faces, sorted({conv.input[0] for conv in convs.values()}))
    shifts = {}
    for name, conv in convs.items():
        weights = graph.weights(name)
        error = (round_weights(weights) - weights).sum(axis=(2, 3))
        mean = observed[conv.input[0]].mean
        shifts[name] = error[:, 0] * mean if groups_of(conv) > 1 else error @ mean
    return shifts


def round_weights(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(C, ...) to the nearest that symmetric int8 with one scale for each of the C can say."""
    largest = np.abs(weights).max(axis=tuple(range(1, weights.ndim)), keepdims=True)
    scale = np.where(largest > 0, largest, 1) / 127
    return np.round(weights / scale) * scale


def _tied_values(graph: Graph) -> list[_Tied]:
    """Groups whose every reader is a convolution; what others read, a sigmoid or the head, keeps its scale."""
    root: dict[str, str] = {}

    def find(value: str) -> str:
        while root.setdefault(value, value) != value:
            value = root[value]
        return value

    makers: dict[str, list[NodeProto]] = defaultdict(list)
    by_weights: dict[str, str] = {}
    for conv in graph.of_type("Conv"):
        graph.bias_of(conv)
        root[find(conv.output[0])] = find(by_weights.setdefault(conv.input[1], conv.output[0]))
    for node in graph.of_type(*_PASSES_SCALE_ON):
        inputs = node.input if node.op_type == "Add" else node.input[:1]
        if all(value in root for value in inputs):
            for value in inputs:
                root[find(value)] = find(node.output[0])
    for conv in graph.of_type("Conv"):
        makers[find(conv.output[0])].append(conv)
    members = {top: frozenset(value for value in root if find(value) == top) for top in makers}
    groups = []
    for top, values in members.items():
        readers = [node for value in sorted(values) for node in graph.consumers(value) if node.output[0] not in values]
        if readers and all(_reads_alone(graph, node, values) for node in readers):
            bounds = [_upper_bound(graph, node) for node in graph.of_type("Clip") if node.output[0] in values]
            groups.append(_Tied(values, tuple(makers[top]), tuple(readers), min(bounds, default=None)))
    return groups


def _reads_alone(graph: Graph, node: NodeProto, values: frozenset[str]) -> bool:
    """Whether `node` is a convolution whose weights read nothing but `values`."""
    sharing = graph.consumers(node.input[1]) if node.op_type == "Conv" else []
    return bool(sharing) and all(conv.input[0] in values for conv in sharing)


def _upper_bound(graph: Graph, clip: NodeProto) -> float:
    """Zero, which leaves the channels as they are, for a clip that isn't ReLU with a limit."""
    low, high = (graph.constant(name) for name in clip.input[1:3])
    return float(high) if low is not None and high is not None and float(low) == 0 else 0.0


def _factors(graph: Graph, group: _Tied, observed: dict[str, Channels]) -> NDArray[np.float64]:
    """(C,): what each channel is multiplied by."""
    stored = [value for value in group.values if not _is_activated(graph, value)]
    sizes = np.max([np.maximum(observed[value].highest, -observed[value].lowest) for value in stored], axis=0)
    largest = max(sizes.max(), 1e-9)
    sizes = np.maximum(sizes, largest / _LARGEST_FACTOR)
    depthwise = all(groups_of(conv) > 1 for conv in group.takers)
    factors: NDArray[np.float64] = (largest / sizes) ** (1.0 if depthwise else _SHARE)
    if group.bound is not None:
        room = group.bound / (_HEADROOM * sizes)
        factors = np.clip(np.minimum(factors, room), 1.0, None)
    return factors


def _is_activated(graph: Graph, value: str) -> bool:
    """Its activation is computed while it is rounded: it is never stored in eight bits itself."""
    takers = graph.consumers(value)
    return bool(takers) and all(node.op_type in ("Clip", "Relu") for node in takers)
