import errno
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from agedetect.config import BACKBONES, HEADS
from agedetect.errors import ResourceError, WeightsError
from agedetect.models.backbones import Backbone, build_backbone
from agedetect.models.heads import BINS, DistributionHead
from agedetect.models.model import AgeModel, build_model
from agedetect.models.shared_batch import SharedDropout
from agedetect_runtime.spec import MAX_AGE, MIN_AGE


def faces(count: int = 2, size: int = 64, seed: int = 0) -> Tensor:
    return torch.randint(
        0, 256, (count, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("head", HEADS)
def test_every_backbone_gives_one_age_a_face(name: str, head: str) -> None:
    model = build_model(name, "none", head=head, mean_age=33.0).eval()
    with torch.inference_mode():
        outputs = model(faces())
        ages = model.age(outputs)
    assert outputs.shape == (2, BINS if head == "distribution" else 1)
    assert ages.shape == (2,)
    assert ages.dtype == torch.float32
    assert not any(isinstance(part, nn.Linear) and part.out_features == 1000 for part in model.modules())


def test_resampling_is_that_of_the_published_weights() -> None:
    named = {name: build_backbone(name, "none").resampling for name in BACKBONES}
    assert named == dict.fromkeys(BACKBONES, "bilinear") | {"efficientnet_b0": "bicubic"}


def test_normalisation_by_hand() -> None:
    seen: list[Tensor] = []
    model = build_model("mobilenet_v2", "none")
    model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.eval()(torch.tensor([0, 128, 255], dtype=torch.uint8).expand(1, 32, 32, 3))
    red, green, blue = seen[0][0, :, 5, 5]
    assert red.item() == pytest.approx((0 - 0.485) / 0.229, rel=1e-5)
    assert green.item() == pytest.approx((128 / 255 - 0.456) / 0.224, rel=1e-5)
    assert blue.item() == pytest.approx((1 - 0.406) / 0.225, rel=1e-5)


def test_the_distribution_head_starts_about_the_mean_age() -> None:
    model = build_model("mobilenet_v2", "none", head="distribution", mean_age=50.0)
    start = model.head.output.bias[None].detach()
    # The normal distribution is cut at 0 and 116 years, 2.5 and 3.3 deviations off, which moves its mean by 0.3.
    assert model.age(start).item() == pytest.approx(50, abs=0.4)
    probabilities = model.probabilities(start)
    assert probabilities is not None
    assert probabilities.sum().item() == pytest.approx(1, abs=1e-6)
    assert probabilities.argmax().item() == 50


def test_the_age_is_the_expectation_of_the_probabilities() -> None:
    model = build_model("mobilenet_v2", "none", head="distribution")
    outputs = torch.full((1, BINS), -100.0)
    outputs[0, 20], outputs[0, 30] = 0.0, math.log(3.0)
    assert model.age(outputs).item() == pytest.approx(0.25 * 20 + 0.75 * 30, abs=1e-4)
    probabilities = model.probabilities(outputs)
    assert probabilities is not None
    assert probabilities[0, 30].item() == pytest.approx(0.75)


class Halves(nn.Module):
    """Features that tell a face from its mirror image: the mean of its left half and of its right."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([half.mean((1, 2, 3)) for half in images.chunk(2, dim=3)], dim=1)


def test_flip_averaging_answers_a_face_and_its_mirror_alike() -> None:
    backbone = Backbone(Halves(), 2, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "halves")
    head = DistributionHead(2, dropout=0, mean_age=30)
    plain, averaging = AgeModel(backbone, head).eval(), AgeModel(backbone, head, flip_tta=True).eval()
    face = faces(1)
    face[:, :, :32] //= 4  # darker on the left
    with torch.inference_mode():
        mirrored = face.flip(2)
        one, other = plain(face), plain(mirrored)
        for seen in (face, mirrored):
            outputs = averaging(seen)
            assert averaging.age(outputs).item() == pytest.approx(
                (plain.age(one) + plain.age(other)).item() / 2, abs=1e-3
            )
            expected = (head.probabilities(one) + head.probabilities(other)) / 2
            found = averaging.probabilities(outputs)
            assert found is not None
            assert torch.allclose(found, expected, atol=1e-6)
        assert not torch.allclose(plain(mirrored), plain(face), atol=1e-2)
        assert torch.equal(averaging.train()(face), plain(face))  # training sees each as it is


def test_the_regression_head_starts_at_the_mean_age() -> None:
    model = build_model("mobilenet_v2", "none", head="regression", mean_age=41.5)
    layers = [layer for layer in model.head if isinstance(layer, nn.Linear)]
    assert layers[-1].bias.item() == 41.5
    assert [layer.bias.abs().max().item() for layer in layers[:-1]] == [0.0]
    bound = (6 / (layers[0].in_features + layers[0].out_features)) ** 0.5  # Glorot & Bengio's uniform
    assert 0.9 * bound < layers[0].weight.abs().max().item() <= bound


def test_ages_are_bounded_but_the_outputs_that_train_are_not() -> None:
    model = build_model("mobilenet_v2", "none", head="regression", dropout=0, mean_age=1000.0)
    assert model.age(model(faces())).tolist() == [MAX_AGE, MAX_AGE]
    assert model(faces()).min() > 500  # what the loss sees
    nn.init.constant_(model.head.output.bias, -1000)
    assert model.age(model(faces())).tolist() == [MIN_AGE, MIN_AGE]


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_come_from_a_file(tmp_path: Path, suffix: str) -> None:
    source = models.mobilenet_v2(weights=None)
    path = tmp_path / f"weights{suffix}"
    save: Callable[[dict[str, Tensor], Path], None] = save_file if suffix == ".safetensors" else torch.save
    save(source.state_dict(), path)
    loaded = build_backbone("mobilenet_v2", str(path)).module.state_dict()
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in loaded.items())


def test_weights_that_do_not_fit_name_their_keys(tmp_path: Path) -> None:
    state = models.mobilenet_v2(weights=None).state_dict()
    state["stranger"] = torch.zeros(1)
    del state["features.0.0.weight"]
    state["features.1.conv.1.weight"] = torch.zeros(3)
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(WeightsError) as caught:
        build_backbone("mobilenet_v2", str(tmp_path / "odd.pth"))
    for key in ("lacks features.0.0.weight", "unknown stranger", "other shapes for features.1.conv.1.weight"):
        assert key in str(caught.value)


def test_weights_of_another_backbone_are_refused(tmp_path: Path) -> None:
    torch.save(models.resnet34(weights=None).state_dict(), tmp_path / "resnet34.pth")
    with pytest.raises(WeightsError, match="does not fit the backbone"):
        build_backbone("resnet50", str(tmp_path / "resnet34.pth"))


class Payload:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (self.path, "w")


def test_a_weights_file_is_never_unpickled(tmp_path: Path) -> None:
    torch.save({"features": Payload(str(tmp_path / "executed"))}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="loads safely"):
        build_backbone("mobilenet_v2", str(tmp_path / "evil.pth"))
    assert not (tmp_path / "executed").exists()


def test_a_cached_download_is_never_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name = models.MobileNet_V2_Weights.IMAGENET1K_V2.url.rpartition("/")[2]
    cached = tmp_path / "hub" / "checkpoints" / name
    cached.parent.mkdir(parents=True)
    torch.save({"features": Payload(str(tmp_path / "executed"))}, cached)
    with pytest.raises(WeightsError, match="could not be downloaded or read"):
        build_backbone("mobilenet_v2", "imagenet")
    assert not (tmp_path / "executed").exists()


def test_a_missing_weights_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere\.pth: no such weights file"):
        build_backbone("mobilenet_v2", str(tmp_path / "nowhere.pth"))


def test_a_failed_download_stops_and_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # refused at once, whatever the network
    with pytest.raises(WeightsError, match=r"could not be downloaded or read .* --weights FILE"):
        build_backbone("mobilenet_v2", "imagenet")


def test_a_full_disk_under_the_downloads_is_told_as_that(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fill(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fill)
    monkeypatch.setattr(timm, "create_model", fill)
    for name in ("mobilenet_v2", "timm/hf-hub:somebody/network"):
        with pytest.raises(ResourceError, match=r"^a disk is full.*TORCH_HOME and HF_HOME"):
            build_backbone(name, "imagenet")


def test_a_shared_dropout_mask_is_the_whole_batchs() -> None:
    whole = SharedDropout(0.5)
    torch.manual_seed(3)
    expected = whole(torch.ones(6, 8))
    for rank in (0, 1):
        part = SharedDropout(0.5)
        part.rank, part.world = rank, 2
        torch.manual_seed(3)
        assert torch.equal(part(torch.ones(3, 8)), expected[rank::2])
    assert 0.3 < (expected == 0).float().mean() < 0.7
    assert set(expected.unique().tolist()) == {0.0, 2.0}


def test_the_state_dict_holds_the_normalisation() -> None:
    assert {"mean", "std"} <= build_model("mobilenet_v2", "none").state_dict().keys()
    assert isinstance(build_model("mobilenet_v2", "none"), AgeModel)
