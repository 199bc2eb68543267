"""Distillation: what teachers say of the training faces becomes half of their labels."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from agedetect import read_faces, train
from agedetect.config import TrainConfig
from agedetect.data.splits import Splits, split_faces
from agedetect.errors import ConfigError
from agedetect.models.heads import BINS
from agedetect.models.losses import distilled, dldl_v2, gaussian_labels, soft_labels
from agedetect.tracking.reading import read_config
from agedetect.training.distributed import open_fabric
from agedetect.training.progress import Progress
from agedetect.training.teaching import fixed_address, load_teachers, teach
from conftest import SMALL_RUN
from export_store import tracking


@pytest.fixture(scope="module")
def splits(drawn_faces: Path) -> Splits:
    return split_faces(read_faces(drawn_faces).faces)


def test_a_teacher_that_repeats_the_labels_changes_nothing() -> None:
    torch.manual_seed(0)
    outputs, ages = torch.randn(8, BINS), torch.rand(8) * 60 + 20
    labels = gaussian_labels(ages, 2.0)
    # Far from both ends the labels' means are the ages, but for float32's rounding.
    targets = torch.cat([ages[:, None], labels], dim=1)
    torch.testing.assert_close(
        distilled(outputs, targets, sigma=2.0, absolute=True), dldl_v2(outputs, ages, sigma=2.0), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(
        distilled(outputs, targets, sigma=2.0, absolute=False), soft_labels(outputs, ages, sigma=2.0)
    )


def test_the_least_loss_is_half_way_between_the_label_and_the_teacher() -> None:
    ages, taught = torch.tensor([30.0]), gaussian_labels(torch.tensor([50.0]), 5.0)
    targets = torch.cat([ages[:, None], taught], dim=1)
    middle = (gaussian_labels(ages, 2.0) + taught) / 2
    assert distilled(middle.log(), targets, sigma=2.0, absolute=True) == pytest.approx(0, abs=1e-4)  # float32
    for other in (gaussian_labels(ages, 2.0), taught):
        assert distilled((other + 1e-9).log(), targets, sigma=2.0, absolute=True) > 1


@pytest.mark.slow
def test_the_targets_are_the_ages_and_the_mean_distribution_over_teachers_and_flips(
    small_run: Path, splits: Splits
) -> None:
    with tracking(store_of(small_run)):
        one, other = (load_teachers(["models:/agedetect@candidate"], splits)[0] for _ in range(2))
    assert fixed_address(one) == "models:/agedetect/1"
    with torch.no_grad():
        other.network.model.head.output.bias.add_(torch.linspace(0, 3, BINS))
    some = dataclasses.replace(splits, train=splits.train[:20])
    config = TrainConfig.from_dict({**SMALL_RUN, "image_size": 64})  # a teacher has a size of its own
    targets = teach([one, other], open_fabric("cpu", "float32"), config, some, Progress(False))
    assert targets.dtype == torch.float32
    assert targets[:, 0].tolist() == [face.age for face in some.train]
    for teacher in (one, other):
        teacher.network.model.flip_tta = False
    each = [np.asarray(teacher.predict(some.train, flip_tta=True).probabilities) for teacher in (one, other)]
    assert np.abs(each[0] - each[1]).max() > 0.01
    # float32 keeps seven digits of a probability of at most 1
    np.testing.assert_allclose(targets[:, 1:], (each[0] + each[1]) / 2, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_a_teacher_of_another_split_is_refused(small_run: Path, drawn_faces: Path) -> None:
    other = split_faces(read_faces(drawn_faces).faces, seed=1)
    with tracking(store_of(small_run)), pytest.raises(ConfigError, match="it was trained on another split"):
        load_teachers(["models:/agedetect@candidate"], other)


@pytest.mark.slow
def test_a_taught_run_learns_something_else_and_records_its_teacher_s_version(
    drawn_faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {**SMALL_RUN, "epochs": 2, "head_epochs": 2, "warmup_epochs": 0, "data_dir": str(drawn_faces)}
    with tracking("sqlite:///mlflow.db"):
        alone = train(config=TrainConfig.from_dict(given))
        taught = train(config=TrainConfig.from_dict({**given, "teachers": "models:/agedetect@candidate"}))
        assert taught.run_id
        assert read_config(taught.run_id).teachers == "models:/agedetect/1"
    assert taught.history[-1].validation_loss != alone.history[-1].validation_loss


def store_of(root: Path) -> str:
    return f"sqlite:///{root / 'mlflow.db'}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "cross_entropy"}, "teachers teach soft_labels or dldl_v2, not loss=cross_entropy"),
        ({"head": "regression"}, "teachers teach soft_labels or dldl_v2, not loss=mse"),
        ({"protocol": "folds5"}, "each fold of folds5 has its own"),
        ({"teachers": "runs:/0/model"}, "teachers=runs:/0/model: each must be models:/NAME@ALIAS"),
        ({"teachers": ""}, "teachers=: each must be models:/NAME@ALIAS"),
    ],
)
def test_teachers_that_could_teach_nothing_are_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig.from_dict({"teachers": "models:/a@candidate", **changes})
