"""A detector of a few nodes under YuNet's contract, whose faces can be worked out by hand: red squares.

A red square of 8, 16 or 32 pixels on the grid of its size is a face: its box is twice as large around the same centre,
and its landmarks lie where the box, cut out, is a chip on UTKFace's template. Larger areas of red are none.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from PIL import Image

from agedetect_runtime.spec import UTKFACE_TEMPLATE

STRIDES = (8, 16, 32)
RED = (255, 0, 0)


def write_tiny_detector(
    path: Path, window: tuple[int, int] | None = None, *, without: str = "", channel: int = 2, slow: bool = False
) -> Path:
    """`window` fixes the (height, width) of the input; `without` leaves out an output; red is the `channel` 2.

    A run of a `slow` one takes some milliseconds more, for nothing.
    """
    nodes = [
        helper.make_node("Gather", ["input", "red"], ["levels"], axis=1),
        helper.make_node("Div", ["levels", "full"], ["undelayed" if slow else "share"]),
        *(_slowly() if slow else []),
    ]
    for stride in STRIDES:
        nodes += _outputs_of(stride)
    constants = {
        "red": np.array([channel], np.int64),  # of blue, green, red
        "full": np.float32(255),
        "nine": np.float32(9),
        "quarter": np.float32(0.25),
        "zero": np.float32(0),
        "square": np.array([600, 600], np.int64),
        "column": np.array([1, -1, 1], np.int64),
        "box": np.array([0.5, 0.5, np.log(2), np.log(2)], np.float32),
        "points": (0.5 + 2 * (np.array(UTKFACE_TEMPLATE, np.float32) - 0.5)).ravel(),
    }
    names = [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES]
    columns = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
    graph = helper.make_graph(
        nodes,
        "tiny detector",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, *(window or ("height", "width"))])],
        [
            helper.make_tensor_value_info(
                name, TensorProto.FLOAT, [1, name.partition("_")[2], columns[name.partition("_")[0]]]
            )
            for name in names
            if name != without
        ],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def _slowly() -> list[NodeProto]:
    """A product of matrices that depends on the input, so that it isn't computed beforehand, and is added as zero."""
    return [
        helper.make_node("ReduceMax", ["undelayed"], ["most"], keepdims=0),
        helper.make_node("Expand", ["most", "square"], ["factor"]),
        helper.make_node("MatMul", ["factor", "factor"], ["product"]),
        helper.make_node("ReduceMax", ["product"], ["largest"], keepdims=0),
        helper.make_node("Mul", ["largest", "zero"], ["nothing"]),
        helper.make_node("Add", ["undelayed", "nothing"], ["share"]),
    ]


def _outputs_of(stride: int) -> list[NodeProto]:
    """The score is the share of red in a cell, less twice that in the eight cells around it."""

    def name(kind: str) -> str:
        return f"{kind}_{stride}"

    pool: dict[str, Any] = {"strides": [stride] * 2, "count_include_pad": 1}
    return [
        helper.make_node("AveragePool", ["share"], [name("cell")], kernel_shape=[stride] * 2, **pool),
        helper.make_node(
            "AveragePool", ["share"], [name("wide")], kernel_shape=[3 * stride] * 2, pads=[stride] * 4, **pool
        ),
        helper.make_node("Mul", [name("wide"), "nine"], [name("sum")]),
        helper.make_node("Sub", [name("sum"), name("cell")], [name("around")]),
        helper.make_node("Mul", [name("around"), "quarter"], [name("penalty")]),
        helper.make_node("Sub", [name("cell"), name("penalty")], [name("score")]),
        helper.make_node("Reshape", [name("score"), "column"], [name("cls")]),
        helper.make_node("Identity", [name("cls")], [name("obj")]),
        helper.make_node("Mul", [name("cls"), "zero"], [name("none")]),
        helper.make_node("Add", [name("none"), "box"], [name("bbox")]),
        helper.make_node("Add", [name("none"), "points"], [name("kps")]),
    ]


def draw(size: tuple[int, int], squares: Iterable[tuple[int, int, int]], background: str = "black") -> Image.Image:
    """A photo of (width, height) with red squares: left, top, side."""
    photo = Image.new("RGB", size, background)
    for left, top, side in squares:
        photo.paste(RED, (left, top, left + side, top + side))
    return photo
