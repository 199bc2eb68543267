"""Backbones of timm, convolutional and transformer alike: trained, registered, exported, or refused in one line."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from agedetect import TrainConfig, export, load_model, read_faces, train
from agedetect.errors import ConfigError, WeightsError
from agedetect.models.backbones import build_backbone
from agedetect.models.conformal import QuantileLayer
from agedetect.models.inference import CalibratedModel
from agedetect.models.model import build_model
from agedetect.models.registered import load_registered, save_registered
from agedetect.models.shared_batch import CpuSyncBatchNorm, share_batches
from agedetect_runtime import AgeEstimator, ModelError
from export_source import draw_pixels, small_spec

SIZE = 64


def local_folder(
    folder: Path, architecture: str, *, published: Mapping[str, str] | None = None, **arguments: str | int
) -> str:
    """timm's folder form of a small network, with weights large enough for features that differ; its name.

    `published` is what its configuration says of where the weights come from.
    """
    create: Callable[..., Any] = timm.create_model  # a network whose attributes have no types
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = create(architecture, num_classes=0, **arguments)
        for parameter in network.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=1.5 / math.sqrt(parameter[0].numel()))
    config = {
        "architecture": architecture,
        "num_classes": 0,
        "model_args": arguments,
        "pretrained_cfg": {
            "input_size": list(network.pretrained_cfg["input_size"]),
            "fixed_input_size": network.pretrained_cfg["fixed_input_size"],
            "interpolation": "bilinear",
            "mean": [0.4, 0.5, 0.6],
            "std": [0.3, 0.25, 0.2],
            **(published or {}),
        },
    }
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(network.state_dict(), folder / "model.safetensors")
    return f"timm/local-dir:{folder}"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("timm")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
        patch.chdir(folder)
        yield folder
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["test_convnext", "test_vit"])
def test_a_network_of_timm_is_trained_registered_and_exported(
    architecture: str, store: Path, drawn_faces: Path, tmp_path: Path
) -> None:
    name = local_folder(tmp_path / architecture, architecture)
    config = TrainConfig(
        model_name=name,
        image_size=SIZE,
        batch_size=16,
        epochs=2,
        head_epochs=1,
        learning_rate=1e-2,
        workers=0,
        device="cpu",
        registered_model_name=architecture,
    )
    run = train(read_faces(drawn_faces), config)
    model = load_model(run.model)
    assert model.spec.backbone == f"timm/{architecture}"
    assert str(tmp_path) not in model.spec.card  # the folder of the weights is nobody's business
    assert export(run.model, tmp_path / "age.onnx").passed
    faces = read_faces(drawn_faces).faces[:5]
    exported = AgeEstimator(tmp_path / "age.onnx", device="cpu")
    ages = [exported.predict(face.path).age for face in faces]
    # float32 torch against ONNX Runtime, the exporter's own tolerance
    assert ages == pytest.approx(model.predict(faces).age, abs=1e-3)


def test_its_own_preprocessing_and_weights_are_used(tmp_path: Path) -> None:
    name = local_folder(tmp_path / "net", "test_efficientnet", pad_type="same")
    backbone = build_backbone(name, "imagenet", image_size=SIZE)
    assert (backbone.resampling, backbone.mean, backbone.std) == ("bilinear", (0.4, 0.5, 0.6), (0.3, 0.25, 0.2))
    assert (backbone.architecture, backbone.arguments) == ("timm/test_efficientnet", {"pad_type": "same"})
    first = next(iter(backbone.module.state_dict().values()))
    assert torch.equal(
        first, next(iter(timm.create_model(name[5:], pretrained=True, num_classes=0).state_dict().values()))
    )
    other = build_backbone(name, "none", image_size=SIZE)
    assert not torch.equal(first, next(iter(other.module.state_dict().values())))
    again = build_backbone(name, str(tmp_path / "net" / "model.safetensors"), image_size=SIZE)
    assert torch.equal(first, next(iter(again.module.state_dict().values())))


@pytest.mark.parametrize(("architecture", "size"), [("test_vit", SIZE), ("test_vit", 160), ("test_efficientnet", SIZE)])
def test_a_registered_network_is_built_again_with_its_arguments(architecture: str, size: int, tmp_path: Path) -> None:
    arguments = {"pad_type": "same"} if architecture == "test_efficientnet" else {}
    model = build_model(f"timm/{architecture}", "none", image_size=size, arguments=arguments)
    spec = dataclasses.replace(small_spec(), backbone=model.architecture, image_size=size, resampling=model.resampling)
    calibrated = CalibratedModel(model, QuantileLayer(0.9)).eval()
    save_registered(calibrated, spec, tmp_path / "saved")
    found, _ = load_registered(tmp_path / "saved")
    faces = draw_pixels(3, size)
    np.testing.assert_array_equal(found.predict(faces).age, calibrated.predict(faces).age)


@pytest.mark.parametrize(
    ("backbone", "arguments"),
    [
        ("timm/local-dir:/etc", {}),
        ("timm/hf-hub:somebody/something", {}),
        ("timm/no_such_network", {}),
        ("timm/../test_vit", {}),
        ("timm/test_vit", {"checkpoint_path": "/etc/passwd"}),
        ("timm/test_vit", {"pretrained": True}),
        ("timm/test_vit", {"img_size": "64"}),
        ("timm/test_vit", {"img_size": [64]}),
        ("timm/test_vit", {"img_size": 10**12}),
        ("timm/test_vit", {"img_size": -5}),
        ("timm/test_vit", {"pad_type": "same"}),
        ("timm/test_efficientnet", {"pad_type": "x" * 1000}),
        ("timm/vit_giant_patch14_224", {}),
        ("mobilenet_v2", {"pad_type": "same"}),
    ],
)
def test_a_registered_network_is_named_and_never_fetched(
    backbone: str, arguments: dict[str, object], tmp_path: Path
) -> None:
    """No address, no file, no argument but two; a giant is compared with the weights before it has any."""
    model = build_model("timm/test_vit", "none", image_size=SIZE)
    spec = dataclasses.replace(small_spec(), backbone=model.architecture, image_size=SIZE, resampling=model.resampling)
    save_registered(CalibratedModel(model, QuantileLayer(0.9)), spec, tmp_path / "saved")
    path = tmp_path / "saved" / "model.json"
    values = json.loads(path.read_text())
    values["backbone_arguments"] = arguments
    values["spec"]["backbone"] = backbone
    path.write_text(json.dumps(values))
    with pytest.raises(ModelError, match="train it again") as caught:
        load_registered(tmp_path / "saved")
    assert "\n" not in str(caught.value)


def test_what_timm_does_not_have_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="timm/no_such_network: timm could not create or load it") as caught:
        build_backbone("timm/no_such_network", "none")
    assert "\n" not in str(caught.value)
    with pytest.raises(WeightsError, match="give timm/local-dir:FOLDER"):
        build_backbone(f"timm/local-dir:{tmp_path}", "imagenet")
    with pytest.raises(ConfigError, match="it does not take images of 33 px"):
        build_backbone("timm/test_vit", "none", image_size=33)  # no multiple of its patches
    with pytest.raises(ConfigError, match=r"is none of resnet50, .*, nor timm/NAME"):
        TrainConfig(model_name="resnet51")


def test_its_norms_keep_their_activation_when_processes_share_a_batch() -> None:
    """timm's batch norm holds the activation: one that is replaced must not lose it, nor change the state dict."""
    model = build_model("timm/test_efficientnet", "none", image_size=SIZE).eval()
    faces = torch.from_numpy(draw_pixels(2, SIZE))
    names, before = list(model.state_dict()), model(faces)
    share_batches(model, rank=0, world=2)
    assert sum(isinstance(module, CpuSyncBatchNorm) for module in model.modules()) > 5
    assert list(model.state_dict()) == names
    assert torch.equal(model.eval()(faces), before)
