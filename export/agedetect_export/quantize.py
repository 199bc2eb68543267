"""float32 -> int8 by ONNX Runtime's static quantization, with the first layer reading the faces' own bytes."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import DeduplicateHashedInitializersPass
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxscript.rewriter import RewriteRule, rewrite

from agedetect_export.equalize import Faces, array, correct_biases, equalize, is_constant, separate_weights

# Of each batch the smallest and the largest value are averaged over the batches (CalibMovingAverage): in small ones the
# rare outlier that would widen everybody's steps counts little.
_BATCH = 4


def quantize(model: onnx.ModelProto, faces: Faces) -> onnx.ModelProto:
    """Calibrated on `faces`, (N, S, S, 3), seen as they are and mirrored; the graph is prepared for it first."""
    graph = prepare(model)
    both = with_mirror_images(faces)
    equalize(graph, both)
    correct_biases(graph, both)
    return quantize_as_it_is(graph, both)


def prepare(model: onnx.ModelProto) -> ir.Model:
    """Fold batch norm, rewrite what int8 would be slow at, and give each convolution its own weights."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "float32.onnx"
        quant_pre_process(model, path)
        graph = rewrite(ir.load(path), pattern_rewrite_rules=RULES)
        separate_weights(graph)
        return graph


def with_mirror_images(faces: Faces) -> Faces:
    """(2 N, S, S, 3): so that both branches of a test-time flip see the same, and go on sharing their weights."""
    return np.concatenate([faces, faces[:, :, ::-1]])


def quantize_as_it_is(model: ir.Model, faces: Faces) -> onnx.ModelProto:
    """ONNX Runtime's `quantize_static`: int8 weights with a scale for each channel, uint8 activations, QDQ form.

    x86 multiplies these two types fastest (VNNI); int8 for both took 2.5 times as long. The last linear layer and what
    turns its outputs into ages stay in float32: they take no time, and a step of theirs would be a step in years. In
    a network with layer norms, a transformer or a ConvNeXt, so does what lies between its linear layers: few channels
    there hold large values, and steps that span those are too coarse for the others.
    """
    has_layer_norms = any(node.op_type == "LayerNormalization" for node in model.graph)
    with TemporaryDirectory() as folder:
        float32, int8 = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        ir.save(model, float32)
        quantize_static(
            float32,
            int8,
            _Batches(faces),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"] if has_layer_norms else None,
            nodes_to_exclude=last_layers(model),
            extra_options={"TensorQuantOverrides": _byte_scales(model), "CalibMovingAverage": True},
        )
        quantized = ir.load(int8)
        DeduplicateHashedInitializersPass()(quantized)
        return ir.to_proto(quantized)


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, faces: Faces) -> None:
        self._batches = iter([faces[start : start + _BATCH] for start in range(0, len(faces), _BATCH)])

    def get_next(self) -> dict[str, Faces] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"faces": batch}


def _normalised_conv(op: Any, levels: Any, mean: Any, std: Any, weights: Any, bias: Any) -> Any:
    images = op.Div(op.Sub(op.Cast(levels), mean), std)
    return op.Conv(images, weights, bias, _allow_other_attributes=True, _outputs=["features"])


def _is_of_constants(_: Any, mean: ir.Value, std: ir.Value, weights: ir.Value, bias: ir.Value, **__: Any) -> bool:
    return all(is_constant(value) for value in (mean, std, weights, bias)) and array(weights).shape[1:2] == (3,)


def _conv_of_bytes(
    op: Any, levels: ir.Value, mean: ir.Value, std: ir.Value, weights: ir.Value, bias: ir.Value, features: ir.Value
) -> Any:
    """Subtract one whole number, which a zero point is, and leave the rest of (levels - mean) / std to the weights.

    It pads with that number instead of the mean colour, which moves an age by 0.03 years on average; subtracting and
    dividing in float32 would take a quarter of the int8 model's time.
    """
    conv = features.producer()
    assert conv is not None  # the pattern's own
    averages = array(mean).reshape(1, -1, 1, 1)
    zero_point = np.round(averages.mean())
    scaled = array(weights) / array(std).reshape(1, -1, 1, 1)
    shifted = array(bias) + (scaled * (zero_point - averages)).sum((1, 2, 3))
    constants = (np.float32(1), np.uint8(zero_point), scaled.astype(np.float32), shifted.astype(np.float32))
    names = ("scale", "zero_point", "weights", "bias")
    scale, zero, new_weights, new_bias = (
        op.initializer(ir.tensor(constant), name=f"{features.name}.{name}")
        for name, constant in zip(names, constants, strict=True)
    )
    return op.Conv(op.DequantizeLinear(levels, scale, zero), new_weights, new_bias, **conv.attributes)


def _mean(op: Any, values: Any, axes: Any) -> Any:
    return op.ReduceMean(values, axes, _allow_other_attributes=True, _outputs=["mean"])


def _is_spatial(_: Any, axes: ir.Value, mean: ir.Value, **__: Any) -> bool:
    reduce, over = mean.producer(), ir.convenience.get_const_tensor(axes)
    return (
        reduce is not None
        and over is not None
        and sorted(over.numpy() % 4) == [2, 3]
        and reduce.attributes.get_int("keepdims", 1) == 1
    )


def _average_pool(op: Any, values: ir.Value, **_: Any) -> Any:
    """ONNX Runtime averages bytes in a GlobalAveragePool alone: EfficientNet, full of averages, is 11% faster by it."""
    return op.GlobalAveragePool(values)


RULES = [
    RewriteRule(_normalised_conv, _conv_of_bytes, _is_of_constants),
    RewriteRule(_mean, _average_pool, _is_spatial),
]


def _byte_scales(model: ir.Model) -> dict[str, list[dict[str, Any]]]:
    """By the name of what DequantizeLinear makes: the scale and zero point that give the same byte again."""
    one = np.array(1, np.float32)
    return {
        str(node.outputs[0].name): [{"scale": one, "zero_point": array(node.inputs[2]).astype(np.uint8)}]
        for node in model.graph
        if node.op_type == "DequantizeLinear"
    }


def last_layers(model: ir.Model) -> list[str]:
    """The names of the nodes that no linear layer reads from: the last one and all that follows it."""
    upstream: set[ir.Node] = set()
    waiting = [made for node in model.graph if node.op_type == "Gemm" for made in node.predecessors()]
    while waiting:
        node = waiting.pop()
        if node not in upstream:
            upstream.add(node)
            waiting.extend(node.predecessors())
    return [node.name or "" for node in model.graph if node not in upstream]
