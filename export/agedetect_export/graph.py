"""An ONNX graph while it is rewritten: its weights as arrays, who makes a value and who takes it."""

from __future__ import annotations

from collections.abc import Iterable
from graphlib import TopologicalSorter

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

Weights = NDArray[np.float64]


class Graph:
    """Wraps a copy of `model`, which stays as it is. Weights are read as float64 and kept as float32."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self._constants = {tensor.name: tensor for tensor in self.model.graph.initializer}

    @property
    def nodes(self) -> list[NodeProto]:
        return list(self.model.graph.node)

    def of_type(self, *kinds: str) -> list[NodeProto]:
        return [node for node in self.nodes if node.op_type in kinds]

    def producer(self, value: str) -> NodeProto | None:
        return next((node for node in self.nodes if value in node.output), None)

    def made_by(self, value: str, kind: str) -> NodeProto | None:
        """The node that makes `value`, if it is one of `kind`."""
        node = self.producer(value)
        return node if node is not None and node.op_type == kind else None

    def consumers(self, value: str) -> list[NodeProto]:
        return [node for node in self.nodes if value in node.input]

    def only_consumer(self, value: str, kind: str) -> NodeProto | None:
        """The node that alone takes `value`, if it is one of `kind` and `value` is no output of the graph."""
        takers = self.consumers(value)
        if len(takers) != 1 or takers[0].op_type != kind or any(o.name == value for o in self.model.graph.output):
            return None
        return takers[0]

    def ancestors(self, values: Iterable[str]) -> set[str]:
        """Names of all nodes that the `values` are made from."""
        found: set[str] = set()
        makers = {value: node for node in self.nodes for value in node.output}
        waiting = list(values)
        while waiting:
            node = makers.get(waiting.pop())
            if node is not None and node.name not in found:
                found.add(node.name)
                waiting.extend(node.input)
        return found

    def constant(self, name: str) -> Weights | None:
        tensor = self._constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor).astype(np.float64)

    def weights(self, name: str) -> Weights:
        """Raises KeyError where `name` is no constant of the graph."""
        return numpy_helper.to_array(self._constants[name]).astype(np.float64)

    def add_constant(self, tensor: onnx.TensorProto) -> None:
        self._constants[tensor.name] = self.model.graph.initializer.add()
        self._constants[tensor.name].CopyFrom(tensor)

    def set_weights(self, name: str, values: Weights) -> None:
        tensor = numpy_helper.from_array(values.astype(np.float32), name)
        if name in self._constants:
            self._constants[name].CopyFrom(tensor)
        else:
            self.add_constant(tensor)

    def bias_of(self, conv: NodeProto) -> Weights:
        """The bias of a Conv, (C,); zeros are added to the graph where it has none."""
        if len(conv.input) < 3 or not conv.input[2]:
            name = f"{conv.input[1]}.bias"
            if name not in self._constants:
                self.set_weights(name, np.zeros(len(self.weights(conv.input[1]))))
            del conv.input[2:]
            conv.input.append(name)
        return self.weights(conv.input[2])

    def add(self, node: NodeProto) -> None:
        """At the end; `sort` then finds its place."""
        self.model.graph.node.append(node)

    def remove(self, node: NodeProto) -> None:
        self.model.graph.node.remove(node)

    def bypass(self, node: NodeProto, value: str) -> None:
        """Whoever took the only output of `node` takes `value` instead."""
        for taker in self.consumers(node.output[0]):
            for index, name in enumerate(taker.input):
                if name == node.output[0]:
                    taker.input[index] = value
        self.remove(node)

    def sort(self) -> None:
        """Put every node behind those that it reads from, as ONNX demands."""
        makers = {value: index for index, node in enumerate(self.nodes) for value in node.output}
        order = TopologicalSorter(
            {index: [makers[v] for v in node.input if v in makers] for index, node in enumerate(self.nodes)}
        )
        old = self.nodes
        nodes = [NodeProto.FromString(old[index].SerializeToString()) for index in order.static_order()]
        del self.model.graph.node[:]
        self.model.graph.node.extend(nodes)

    def prune(self) -> None:
        """Drop the nodes and weights that no output needs, and the notes on values, which rewriting makes stale."""
        needed = self.ancestors(output.name for output in self.model.graph.output)
        for node in self.nodes:
            if node.name not in needed:
                self.model.graph.node.remove(node)
        used = {value for node in self.nodes for value in node.input}
        kept = [tensor for tensor in self.model.graph.initializer if tensor.name in used]
        kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
        del self.model.graph.initializer[:]
        self.model.graph.initializer.extend(kept)
        self._constants = {tensor.name: tensor for tensor in self.model.graph.initializer}
        del self.model.graph.value_info[:]


def groups_of(conv: NodeProto) -> int:
    """How many groups the channels of a Conv are in: as many as there are in a depthwise one."""
    return next((int(item.i) for item in conv.attribute if item.name == "group"), 1)


def attribute(node: NodeProto, name: str, default: object = None) -> object:
    return next((helper.get_attribute_value(item) for item in node.attribute if item.name == name), default)
