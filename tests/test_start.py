"""What a run starts from, and the values that this decides."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from agedetect.config import AUTO, TrainConfig
from agedetect.errors import ConfigError
from agedetect.models.timm_backbones import word_of_faces
from agedetect.training import start
from agedetect.training.start import resolve
from test_timm import local_folder


def values(config: TrainConfig) -> tuple[object, ...]:
    return config.start, config.head_epochs, config.finetune_learning_rate, config.warmup_epochs


@pytest.mark.parametrize(
    ("config", "expected", "reason"),
    [
        (TrainConfig(), ("imagenet", 1, 5e-4, 1), "the published weights"),
        (TrainConfig(weights="none"), ("scratch", 0, 2e-3, 1), "weights=none"),
        (TrainConfig(weights="net.pth"), ("imagenet", 1, 5e-4, 1), "what a weights file is taken for"),
        (TrainConfig(weights="net.pth", start="faces"), ("faces", 4, 2.5e-4, 0), "as given"),
        (TrainConfig(start="faces", head_epochs=2, warmup_epochs=3), ("faces", 2, 2.5e-4, 3), "as given"),
        (TrainConfig(model_name="timm/test_vit", weights="none"), ("scratch", 0, 2e-3, 1), "weights=none"),
        (TrainConfig(model_name="timm/test_vit"), ("imagenet", 1, 5e-4, 1), "the published weights"),
        (TrainConfig(finetune_learning_rate=1e-4), ("imagenet", 1, 1e-4, 1), "the published weights"),
    ],
)
def test_the_weights_decide_what_was_not_given(config: TrainConfig, expected: tuple[object, ...], reason: str) -> None:
    resolved, line = resolve(config)
    assert values(resolved) == expected
    assert line.startswith(f"start={expected[0]} ({reason}")
    assert f"head_epochs={expected[1]}, finetune_learning_rate={expected[2]}, warmup_epochs={expected[3]}" in line
    assert AUTO not in resolved.to_dict().values()
    assert resolve(resolved)[0] == resolved


@pytest.mark.parametrize(
    ("published", "word"),
    [
        ({"tag": "vggface2"}, "vggface"),
        ({"license": "VGGFace2 identities: non-commercial research"}, "vggface"),
        ({"tag": "arcface_ms1mv3"}, "arcface"),
        ({"hf_hub_id": "somebody/vit_tiny.cosface_glint360k"}, "cosface"),
        ({"tag": "r160_in1k", "license": "apache-2.0"}, None),
    ],
)
def test_a_backbone_whose_configuration_names_face_recognition_starts_from_faces(
    published: dict[str, str], word: str | None, tmp_path: Path
) -> None:
    name = local_folder(tmp_path / "arcface", "test_efficientnet", published=published)  # a folder's name says nothing
    resolved, line = resolve(TrainConfig(model_name=name, epochs=10))
    if word is None:
        assert values(resolved) == ("imagenet", 1, 5e-4, 1)
    else:
        assert values(resolved) == ("faces", 4, 2.5e-4, 0)
        assert line.startswith(f"start=faces (the backbone's configuration names {word}): ")


def test_no_weights_that_timm_publishes_itself_are_taken_for_a_face_recognition_network() -> None:
    find: Callable[..., Any] = timm.get_pretrained_cfg  # whose result's methods have no annotations
    published = [find(name).to_dict() for name in timm.list_pretrained()]
    assert len(published) > 1000  # the look-up sees what there is
    assert [config["hf_hub_id"] for config in published if word_of_faces(config)] == []


@pytest.mark.parametrize(
    ("epochs", "given", "expected"),
    [(1, "imagenet", (1, 0)), (2, "imagenet", (1, 0)), (3, "imagenet", (1, 1)), (3, "faces", (3, 0))],
)
def test_a_short_run_has_the_phases_that_fit_into_it(epochs: int, given: str, expected: tuple[int, int]) -> None:
    """A warm-up that took the whole fine-tuning phase would leave no step at the rate that it leads to."""
    resolved, _ = resolve(TrainConfig(start=given, epochs=epochs))
    assert (resolved.head_epochs, resolved.warmup_epochs) == expected


@pytest.mark.parametrize(
    ("cores", "processes", "workers"), [(1, None, 1), (2, None, 1), (4, None, 3), (64, None, 8), (8, "2", 3)]
)
def test_the_workers_leave_a_core_for_the_step(
    cores: int, processes: str | None, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "usable_cores", lambda: cores)
    monkeypatch.setattr(os, "environ", {"LOCAL_WORLD_SIZE": processes} if processes else {})
    assert resolve(TrainConfig())[0].workers == workers


def test_the_loss_the_device_and_the_precision_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    resolved, line = resolve(TrainConfig())
    assert (resolved.loss, resolved.device, resolved.precision) == ("dldl_v2", "cpu", "float32")
    assert "loss=dldl_v2, device=cpu, precision=float32" in line
    focal = resolve(TrainConfig(head="regression", use_focal_loss=True))[0]
    assert (focal.loss, focal.loss_name) == ("mse", "focal_mse")
    with pytest.raises(ConfigError, match="device=cuda: torch finds no CUDA device"):
        resolve(dataclasses.replace(resolved, device="cuda"))
