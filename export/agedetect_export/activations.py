"""What the values inside a graph are like on real faces, channel by channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from agedetect_export.graph import Graph

Faces = NDArray[np.uint8]
_BATCH = 16
_REDUCTIONS = {"ReduceMin": np.minimum, "ReduceMax": np.maximum, "ReduceMean": np.add}


@dataclass(frozen=True)
class Channels:
    """(C,) each: the smallest, the largest and the mean value of every channel of a tensor (B, C, ...)."""

    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    mean: NDArray[np.float64]


def observe(model: onnx.ModelProto, faces: Faces, values: Sequence[str]) -> dict[str, Channels]:
    """The channels of the named values over `faces`, (N, S, S, 3), as the float graph computes them."""
    if not values:
        return {}
    graph = Graph(model)
    ranks = _ranks(model)
    wanted = []
    for index, value in enumerate(values):
        axes = f"observed axes {index}"
        graph.model.graph.initializer.append(
            helper.make_tensor(axes, TensorProto.INT64, [ranks[value] - 1], [0, *range(2, ranks[value])])
        )
        for kind in _REDUCTIONS:
            output = f"observed {kind} {index}"
            graph.model.graph.node.append(helper.make_node(kind, [value, axes], [output], output, keepdims=0))
            wanted.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
    del graph.model.graph.output[:]
    graph.model.graph.output.extend(wanted)
    totals = _reduce(graph.model, faces, [item.name for item in wanted])
    rows = [totals[index : index + 3] for index in range(0, len(totals), 3)]
    return {
        value: Channels(lowest, highest, total / len(faces))
        for value, (lowest, highest, total) in zip(values, rows, strict=True)
    }


def open_quietly(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # 3: errors; its warnings are about graph optimisation
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # many short runs, Python in between
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _reduce(model: onnx.ModelProto, faces: Faces, names: Sequence[str]) -> list[NDArray[np.float64]]:
    """For each name the minimum or maximum over all batches, or the sum over all faces."""
    session = open_quietly(model)
    totals: list[NDArray[np.float64]] = []
    for start in range(0, len(faces), _BATCH):
        batch = faces[start : start + _BATCH]
        found = [np.asarray(value, np.float64) for value in session.run(list(names), {"faces": batch})]
        for index, kind in enumerate(list(_REDUCTIONS) * (len(names) // 3)):
            value = found[index] * (len(batch) if kind == "ReduceMean" else 1)
            if start == 0:
                totals.append(value)
            else:
                totals[index] = _REDUCTIONS[kind](totals[index], value)
    return totals


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    return {item.name: len(item.type.tensor_type.shape.dim) for item in [*inferred.value_info, *inferred.output]}
