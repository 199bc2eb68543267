"""ONNX models of a few nodes under the real contract, whose ages can be worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from agedetect_runtime.spec import METADATA_KEY, ModelSpec

CHANNEL_YEARS = (0.2, 0.1, 0.05)
MAX_AGE = 116


def tiny_spec(
    image_size: int = 32, coverage: float | None = None, *, head: str = "regression", min_age: int = 0
) -> ModelSpec:
    """The spec that `write_tiny_model` writes if it is given none."""
    return ModelSpec(
        image_size=image_size,
        resampling="bilinear",
        backbone="tiny",
        min_age=min_age,
        max_age=MAX_AGE,
        coverage=coverage,
        head=head,
        provenance={"made by": "tests"},
    )


def write_tiny_model(
    path: Path,
    *,
    image_size: int = 32,
    channel_years: tuple[float, float, float] = CHANNEL_YEARS,
    bias: float = 1.0,
    coverage: float | None = None,
    head: str = "regression",
    min_age: int = 0,
    black_is_nan: bool = False,
    metadata: str | None = "",
) -> Path:
    """Write a model with age = bias + sum over RGB of years x the channel's mean level (0 to 255).

    With `coverage` it also gives low = age - 5 and high = age + 5, with the head "distribution" the
    probabilities max(0, 4 - distance from the age) / 16: around a whole age 1, 2, 3, 4, 3, 2, 1 sixteenths. With
    `black_is_nan` a black image's age is 0/0. `metadata` replaces the spec's JSON; None leaves it out.
    """
    spec = tiny_spec(image_size, coverage, head=head, min_age=min_age)
    nodes = [
        helper.make_node("Cast", ["faces"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["levels", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "years"], ["sums"]),
        helper.make_node("Add", ["sums", "bias"], ["plain"]),
    ]
    constants: dict[str, NDArray[np.generic]] = {
        "axes": np.array([1, 2], np.int64),
        "years": np.array(channel_years, np.float32),
        "bias": np.array(bias, np.float32),
        "half_width": np.array(5, np.float32),
        "column": np.array([1], np.int64),
        "bins": np.arange(min_age, MAX_AGE + 1, dtype=np.float32),
        "four": np.array(4, np.float32),
        "sixteen": np.array(16, np.float32),
    }
    if black_is_nan:
        nodes.append(helper.make_node("Div", ["sums", "sums"], ["one"]))
        nodes.append(helper.make_node("Mul", ["plain", "one"], ["age"]))
    else:
        nodes.append(helper.make_node("Identity", ["plain"], ["age"]))
    if coverage is not None:
        nodes.append(helper.make_node("Sub", ["age", "half_width"], ["low"]))
        nodes.append(helper.make_node("Add", ["age", "half_width"], ["high"]))
    if head == "distribution":
        nodes += [
            helper.make_node("Unsqueeze", ["age", "column"], ["ages"]),
            helper.make_node("Sub", ["ages", "bins"], ["differences"]),
            helper.make_node("Abs", ["differences"], ["distances"]),
            helper.make_node("Sub", ["four", "distances"], ["heights"]),
            helper.make_node("Relu", ["heights"], ["sixteenths"]),
            helper.make_node("Div", ["sixteenths", "sixteen"], ["probabilities"]),
        ]
    columns = {"probabilities": [spec.bins]}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("faces", TensorProto.UINT8, ["batch", image_size, image_size, 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *columns.get(name, [])])
            for name in spec.outputs
        ],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if metadata is not None:
        helper.set_model_props(model, {METADATA_KEY: metadata or spec.to_json()})
    onnx.save(model, path)
    return path


def age_by_hand(
    face: NDArray[np.uint8],
    channel_years: tuple[float, float, float] = CHANNEL_YEARS,
    bias: float = 1.0,
) -> float:
    """The age that the tiny model must give for one (S, S, 3) face."""
    means = face.astype(np.float64).mean(axis=(0, 1))
    return float(bias + means @ np.array(channel_years))
