"""int8: what is rounded and what isn't, that equalizing changes nothing but the rounding, and that it is worth it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto

from agedetect_export import convert
from agedetect_export.activations import observe, open_quietly
from agedetect_export.cleanup import simplify
from agedetect_export.equalize import bias_shifts, equalize, round_weights
from agedetect_export.graph import Graph
from agedetect_export.half import halve
from agedetect_export.quantize import Quantizer
from agedetect_export.sensitivity import choose, expected_cost, run
from export_source import SIZE, SPEC, MobileAges, draw_pixels

CALIBRATION, OTHERS = draw_pixels(48, SIZE), draw_pixels(64, SIZE, seed=9)


@cache
def exact(mirrored: bool = False) -> onnx.ModelProto:
    return simplify(convert.trace(MobileAges(mirrored=mirrored), torch.from_numpy(CALIBRATION[:2]), SPEC))


@cache
def quantizer() -> Quantizer:
    return Quantizer(exact(), CALIBRATION)


def error(model: onnx.ModelProto) -> float:
    """Mean difference from the float graph in years, on faces that did not calibrate."""
    return float(np.abs(run(model, OTHERS) - run(exact(), OTHERS)).mean())


def optimized(model: onnx.ModelProto, path: Path) -> Graph:
    """The graph that ONNX Runtime runs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Graph(onnx.load(path))


def test_weights_are_int8_by_channel_and_activations_uint8() -> None:
    model = quantizer().build()
    onnx.checker.check_model(model, full_check=True)
    graph, tensors = Graph(model), {item.name: item for item in model.graph.initializer}
    for conv in graph.of_type("Conv"):
        weights, activations = (graph.made_by(value, "DequantizeLinear") for value in (conv.input[1], conv.input[0]))
        assert weights is not None
        assert activations is not None
        assert tensors[weights.input[0]].data_type == TensorProto.INT8
        assert tensors[weights.input[1]].dims == tensors[weights.input[0]].dims[:1]
        assert tensors[activations.input[2]].data_type == TensorProto.UINT8


def test_every_convolution_runs_on_bytes_and_the_first_reads_those_of_the_face(tmp_path: Path) -> None:
    graph = optimized(quantizer().build(), tmp_path / "run.onnx")
    assert len(graph.of_type("QLinearConv")) == 6
    assert not graph.of_type("Conv", "Cast")
    (transpose,) = (node for node in graph.of_type("Transpose") if node.input[0] == "faces")
    assert graph.consumers(transpose.output[0])[0].op_type == "QLinearConv"


def test_the_last_layer_stays_in_float() -> None:
    model = quantizer().build()
    graph = Graph(model)
    names = [graph.made_by(node.input[1], "DequantizeLinear") is not None for node in graph.of_type("Gemm")]
    assert names == [True, False]
    assert [layer.name for layer in quantizer().layers][-1] == "hidden"


def test_a_kept_layer_is_float_where_it_runs(tmp_path: Path) -> None:
    # ONNX Runtime rounds a float convolution between bytes by itself, all channels on one scale
    name = quantizer().layers[2].name
    graph = optimized(quantizer().build([name]), tmp_path / "run.onnx")
    (conv,) = graph.of_type("Conv", "FusedConv")
    np.testing.assert_array_equal(graph.weights(conv.input[1]), quantizer()._graph.weights(f"{name}.weight"))
    assert len(graph.of_type("QLinearConv")) == 5


def test_equalizing_changes_the_sizes_of_channels_and_no_age() -> None:
    equal = equalize(exact(), CALIBRATION)
    np.testing.assert_allclose(run(equal, OTHERS), run(exact(), OTHERS), rtol=0, atol=1e-3)  # parity's tolerance, years
    value = Graph(exact()).of_type("Clip")[0].output[0]  # what the depthwise convolution reads
    spread = [np.ptp(np.log(observe(model, CALIBRATION, [value])[value].highest)) for model in (exact(), equal)]
    assert spread[1] < spread[0] / 2


def test_equalized_and_corrected_int8_is_closer_than_plain() -> None:
    plain = Quantizer.__new__(Quantizer)
    plain.__dict__.update(quantizer().__dict__)
    graph = Graph(exact())
    values = list(quantizer()._limits)
    limits = {v: (c.lowest.min(), c.highest.max()) for v, c in observe(exact(), CALIBRATION, values).items()}
    plain._graph, plain._shifts = graph, {name: shift * 0 for name, shift in quantizer()._shifts.items()}
    plain._limits = {name: (np.float32(low), np.float32(high)) for name, (low, high) in limits.items()}
    assert error(quantizer().build()) < 0.8 * error(plain.build())


def test_a_bias_shift_is_what_rounding_adds_on_average() -> None:
    graph = Graph(exact())
    conv = next(node for node in graph.of_type("Conv") if node.input[1].startswith("expand"))  # 1 x 1: no border
    rounded = Graph(exact())
    rounded.set_weights(conv.input[1], round_weights(graph.weights(conv.input[1])))
    value = conv.output[0]
    before, after = (observe(item.model, CALIBRATION, [value])[value].mean for item in (graph, rounded))
    np.testing.assert_allclose(after - before, bias_shifts(exact(), CALIBRATION)[conv.input[1]], atol=1e-4)


def test_mirrored_branches_share_their_int8_weights() -> None:
    model = Quantizer(exact(mirrored=True), CALIBRATION).build()
    assert sum(item.data_type == TensorProto.INT8 and len(item.dims) == 4 for item in model.graph.initializer) == 6
    assert np.abs(run(model, OTHERS) - run(exact(mirrored=True), OTHERS)).mean() < 2 * error(quantizer().build()) + 0.1


def test_the_search_keeps_the_layer_that_gains_most_and_names_it() -> None:
    true = run(exact(), OTHERS) + np.random.default_rng(1).laplace(0, 5, len(OTHERS))
    costs = {layer.name: error(quantizer().build([layer.name])) for layer in quantizer().layers}
    told: list[str] = []
    choice = choose(exact(), quantizer(), OTHERS, true, budget_years=1e-4, tell=told.append)
    assert choice.kept
    assert costs[choice.kept[0]] < error(quantizer().build())
    assert error(choice.model) < error(quantizer().build())
    assert len(told) == 1
    free = choose(exact(), quantizer(), OTHERS, true, budget_years=100, tell=told.append)
    assert (free.kept, len(told)) == ((), 1)


def test_the_expected_cost_is_that_of_laplaces_errors() -> None:
    random = np.random.default_rng(2)
    errors, differences = random.laplace(0, 5, 2_000_000), random.normal(0, 0.4, 2_000_000)
    cost = np.abs(errors + differences).mean() - np.abs(errors).mean()
    # what is left out is a share of some 0.4 / 5, and the standard error is 2% of the cost
    assert expected_cost(differences, 5.0) == pytest.approx(cost, rel=0.1)


def test_half_precision_ends_before_the_last_layer() -> None:
    model = halve(exact())
    onnx.checker.check_model(model, full_check=True)
    graph, tensors = Graph(model), {item.name: item for item in model.graph.initializer}
    assert {tensors[conv.input[1]].data_type for conv in graph.of_type("Conv")} == {TensorProto.FLOAT16}
    hidden, last = graph.of_type("Gemm")
    assert tensors[hidden.input[1]].data_type == TensorProto.FLOAT16
    assert tensors[last.input[1]].data_type == TensorProto.FLOAT
    assert model.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    # eleven bits of mantissa through seven layers; int8's eight bits are ten times as far off
    assert 0 < error(model) < error(quantizer().build())
    assert open_quietly(model).run(["age"], {"faces": OTHERS[:1]})[0].dtype == np.float32
