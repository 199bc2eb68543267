"""What is taken out of a traced graph, and that its ages stay: borders, shared weights and all."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import onnx
import pytest
import torch

from agedetect_export import convert
from agedetect_export.activations import open_quietly
from agedetect_export.cleanup import simplify
from export_source import SIZE, SPEC, MobileAges, draw_pixels

FACES = draw_pixels(5, SIZE)


@cache
def traced(mirrored: bool) -> onnx.ModelProto:
    return convert.trace(MobileAges(mirrored=mirrored), torch.from_numpy(FACES), SPEC)


def kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_cleaned_graph_gives_the_same_ages(mirrored: bool) -> None:
    after = simplify(traced(mirrored))
    assert kinds(after)["Div"] == mirrored  # by two, of the two answers
    assert kinds(after)["BatchNormalization"] == kinds(after)["Gather"] == 0
    assert kinds(after)["GlobalAveragePool"] == 1 + mirrored
    onnx.checker.check_model(after, full_check=True)
    (ages,) = open_quietly(after).run(["age"], {"faces": FACES})
    with torch.inference_mode():
        wanted = MobileAges(mirrored=mirrored)(torch.from_numpy(FACES)).numpy()
    np.testing.assert_allclose(ages, wanted, rtol=0, atol=1e-3)  # parity's own tolerance, years
    assert np.ptp(wanted) > 5


def test_shared_weights_are_folded_once_and_stay_shared() -> None:
    before = traced(True)
    assert kinds(before)["BatchNormalization"] == 12  # torch's converter leaves those of shared weights
    after = simplify(before)
    assert kinds(after)["Conv"] == 12
    assert len({node.input[1] for node in after.graph.node if node.op_type == "Conv"}) == 6
    assert after.ByteSize() < before.ByteSize()


def test_the_mean_is_not_folded_since_the_border_is_padded_with_zeros_after_it() -> None:
    model = simplify(traced(False))
    (mean,) = (node for node in model.graph.node if node.op_type == "Sub")
    assert mean.input[1].endswith("mean")
    moved = onnx.ModelProto()
    moved.CopyFrom(model)
    folded = next(node for node in moved.graph.node if node.op_type == "Conv")
    weights = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    bias = weights[folded.input[2]] - (weights[folded.input[1]] * weights[mean.input[1]]).sum((1, 2, 3))
    for item in moved.graph.initializer:
        if item.name == folded.input[2]:
            item.CopyFrom(onnx.numpy_helper.from_array(bias, item.name))
    folded.input[0] = mean.input[0]
    (ages,), (wanted,) = (open_quietly(item).run(["age"], {"faces": FACES}) for item in (moved, model))
    assert np.abs(ages - wanted).max() > 0.01  # ten times parity's tolerance
