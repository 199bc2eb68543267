"""int8: what is rounded and what isn't, and that what prepares the graph for it changes the rounding alone."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnxscript.rewriter import rewrite

from agedetect_export import convert
from agedetect_export.equalize import array, correct_biases, equalize, observe
from agedetect_export.quantize import RULES, prepare, quantize, quantize_as_it_is
from export_source import SIZE, SPEC, MobileAges, draw_pixels, small_model, small_spec

CALIBRATION, OTHERS = draw_pixels(48, SIZE), draw_pixels(64, SIZE, seed=9)


def read_by(node: ir.Node, index: int) -> ir.Value:
    """An input of a node, which ONNX allows to be missing."""
    value = node.inputs[index]
    assert value is not None
    return value


def maker(node: ir.Node, index: int) -> ir.Node:
    """The node that makes an input of `node`."""
    found = read_by(node, index).producer()
    assert found is not None
    return found


def average(features: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.adaptive_avg_pool2d(features, 1).flatten(1)


class Unpadded(torch.nn.Module):
    """The trainer's normalisation, and a first convolution that reads no padding."""

    def __init__(self) -> None:
        super().__init__()
        source = MobileAges()
        self.mean, self.std = source.mean, source.std
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.features, self.head = torch.nn.Conv2d(3, 8, 3), torch.nn.Linear(8, 1)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        images = (faces.permute(0, 3, 1, 2).float() - self.mean) / self.std
        years: torch.Tensor = 40 + 20 * self.head(average(torch.relu(self.features(images)))).squeeze(1)
        return years


def trace(program: torch.nn.Module) -> onnx.ModelProto:
    return convert.trace(program, torch.from_numpy(CALIBRATION[:2]), SPEC)


@cache
def float32(mirrored: bool = False) -> onnx.ModelProto:
    return trace(MobileAges(mirrored=mirrored))


@cache
def int8() -> onnx.ModelProto:
    return quantize(float32(), CALIBRATION)


def run(model: onnx.ModelProto) -> NDArray[np.float64]:
    """Years, of faces that did not calibrate."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["age"], {"faces": OTHERS})[0], np.float64)


def of_type(model: ir.Model, *kinds: str) -> list[ir.Node]:
    return [node for node in model.graph if node.op_type in kinds]


def as_run(model: onnx.ModelProto, path: Path) -> ir.Model:
    """The graph that ONNX Runtime makes of the file."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return ir.load(path)


def test_weights_are_int8_by_channel_and_activations_uint8() -> None:
    onnx.checker.check_model(int8(), full_check=True)
    convolutions = of_type(ir.from_proto(int8()), "Conv")
    assert len(convolutions) == 6
    for convolution in convolutions:
        activations, weights = (maker(convolution, index) for index in (0, 1))
        assert read_by(weights, 0).dtype == ir.DataType.INT8
        assert list(read_by(weights, 1).shape or ()) == list(read_by(weights, 0).shape or ())[:1]
        assert read_by(activations, 2).dtype == ir.DataType.UINT8


def test_every_convolution_runs_on_bytes_and_the_first_reads_those_of_the_face(tmp_path: Path) -> None:
    model = as_run(int8(), tmp_path / "run.onnx")
    assert len(of_type(model, "QLinearConv")) == 6
    assert len(of_type(model, "QLinearGlobalAveragePool")) == 1
    assert not of_type(model, "Conv", "Cast", "ReduceMean")
    (transpose,) = (use.node for use in model.graph.inputs[0].uses() if use.node.op_type == "Transpose")
    assert [use.node.op_type for use in transpose.outputs[0].uses()] == ["QLinearConv"]


@pytest.mark.parametrize("backbone", ["timm/test_convnext", "timm/test_vit"])
def test_what_layer_norms_read_is_not_rounded(backbone: str, tmp_path: Path) -> None:
    convert.convert(small_model(backbone=backbone), small_spec(backbone=backbone), tmp_path / "float32.onnx")
    source = onnx.load(tmp_path / "float32.onnx")
    rounded = quantize(source, CALIBRATION)
    norms = of_type(ir.from_proto(rounded), "LayerNormalization")
    assert norms
    assert "DequantizeLinear" not in {maker(norm, 0).op_type for norm in norms}
    ages = run(source)
    # as a part of what these untrained networks' ages differ by: 0.05 and 0.09; the ViT's is 0.31 where all is rounded
    assert np.abs(run(rounded) - ages).mean() < 0.15 * ages.std()


def test_the_last_layer_stays_in_float32() -> None:
    hidden, last = of_type(ir.from_proto(int8()), "Gemm")
    assert maker(hidden, 1).op_type == "DequantizeLinear"
    assert read_by(last, 1).producer() is None
    assert read_by(last, 1).dtype == ir.DataType.FLOAT


def test_equalizing_brings_channels_to_like_size_and_changes_no_age() -> None:
    before, after = prepare(float32()), prepare(float32())
    equalize(after, CALIBRATION)
    value = of_type(before, "Clip")[0].outputs[0].name  # what the depthwise convolution reads
    spreads = []
    for model in (before, after):
        (named,) = (node.outputs[0] for node in of_type(model, "Clip") if node.outputs[0].name == value)
        spreads.append(np.ptp(np.log(observe(model, CALIBRATION, [named])[0].largest)))
    assert spreads[1] < spreads[0] / 2
    ages = [run(ir.to_proto(model)) for model in (before, after)]
    np.testing.assert_allclose(ages[1], ages[0], rtol=0, atol=1e-3)  # parity's own tolerance, years


def test_grouped_convolutions_are_equalized_and_a_clip_that_is_no_relu_is_left_alone() -> None:
    class Grouped(Unpadded):
        def __init__(self) -> None:
            super().__init__()
            with torch.random.fork_rng():
                torch.manual_seed(6)
                self.grouped, self.last = torch.nn.Conv2d(8, 8, 3, groups=4), torch.nn.Conv2d(8, 8, 1)

        def forward(self, faces: torch.Tensor) -> torch.Tensor:
            images = (faces.permute(0, 3, 1, 2).float() - self.mean) / self.std
            clipped = self.grouped(torch.relu(self.features(images))).clamp(-0.5, 0.5)
            years: torch.Tensor = 40 + 20 * self.head(average(torch.relu(self.last(clipped)))).squeeze(1)
            return years

    model = trace(Grouped())
    before, after = prepare(model), prepare(model)
    equalize(after, CALIBRATION)
    weights = [[array(node.inputs[1]) for node in of_type(graph, "Conv")] for graph in (before, after)]
    assert [not np.allclose(old, new) for old, new in zip(*weights, strict=True)] == [True, True, False]
    np.testing.assert_allclose(run(ir.to_proto(after)), run(model), rtol=0, atol=1e-3)  # parity's own tolerance, years
    assert np.ptp(run(model)) > 1


def test_equalized_int8_is_closer_to_float32() -> None:
    plain, equalized = prepare(float32()), prepare(float32())
    equalize(equalized, CALIBRATION)
    errors = [
        np.abs(run(quantize_as_it_is(model, CALIBRATION)) - run(float32())).mean() for model in (plain, equalized)
    ]
    assert 0 < errors[1] < 0.9 * errors[0]


def test_a_corrected_bias_keeps_the_mean_that_rounded_weights_would_move() -> None:
    exact, rounded = prepare(float32()), prepare(float32())
    correct_biases(rounded, CALIBRATION)
    before, after = (
        next(
            node for node in of_type(model, "Conv") if str(read_by(node, 1).name).startswith("expand")
        )  # 1 x 1: no border
        for model in (exact, rounded)
    )
    read = observe(exact, CALIBRATION, [read_by(before, 0)])[0].mean
    weights = array(before.inputs[1])
    scale = np.abs(weights).max((1, 2, 3), keepdims=True) / 127
    wanted = weights[..., 0, 0] @ read + array(before.inputs[2])
    found = (np.round(weights / scale) * scale)[..., 0, 0] @ read + array(after.inputs[2])
    np.testing.assert_allclose(found, wanted, atol=1e-5)  # float32's rounding of a bias near one
    assert np.abs(array(after.inputs[2]) - array(before.inputs[2])).max() > 1e-4


def test_the_first_layer_takes_over_mean_and_std_exactly_where_nothing_is_padded() -> None:
    model = trace(Unpadded())
    rewritten = ir.to_proto(rewrite(ir.from_proto(model), pattern_rewrite_rules=RULES))
    kinds = {node.op_type for node in rewritten.graph.node}
    assert {"DequantizeLinear", "GlobalAveragePool"} <= kinds
    assert not {"Cast", "Div", "ReduceMean"} & kinds
    np.testing.assert_allclose(run(rewritten), run(model), rtol=0, atol=1e-3)  # parity's own tolerance, years
    assert np.ptp(run(model)) > 5


def test_a_network_without_that_normalisation_is_quantized_too() -> None:
    class Scaled(Unpadded):
        def forward(self, faces: torch.Tensor) -> torch.Tensor:
            images = faces.permute(0, 3, 1, 2).float() * (2 / 255) - 1
            years: torch.Tensor = 40 + 20 * self.head(average(torch.relu(self.features(images)))).squeeze(1)
            return years

    model = trace(Scaled())
    difference = np.abs(run(quantize(model, CALIBRATION)) - run(model))
    assert 0 < difference.mean() < 0.5  # one layer's rounding


def test_both_branches_of_a_test_time_flip_share_their_weights() -> None:
    model = quantize(float32(mirrored=True), CALIBRATION)
    weights = [item for item in model.graph.initializer if item.data_type == onnx.TensorProto.INT8]
    assert sum(len(item.dims) == 4 for item in weights) == 6
    assert sum(node.op_type == "Conv" for node in model.graph.node) == 12
    # two answers' mean is no further from float32 than one answer, but for what the other faces' rounding is worth
    difference = np.abs(run(model) - run(float32(mirrored=True))).mean()
    assert difference < 1.25 * np.abs(run(int8()) - run(float32())).mean()
