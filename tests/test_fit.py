import dataclasses
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from agedetect.config import AUGMENTATIONS, TrainConfig
from agedetect.data.faces import read_faces
from agedetect.data.splits import Splits, split_faces
from agedetect.errors import DataError, RunError
from agedetect.models.conformal import fit_conformal
from agedetect.models.heads import BINS
from agedetect.models.model import build_model
from agedetect.tracking.checkpoints import Checkpoint, Epoch, Snapshot
from agedetect.training.dataset import FaceDataset, OrderedBatches, ShuffledBatches, loader
from agedetect.training.distributed import open_fabric
from agedetect.training.fit import Fit
from agedetect.training.phases import plan
from agedetect.training.progress import Progress
from agedetect.training.start import resolve
from agedetect.training.train import calibrate
from conftest import SMALL_RUN


@pytest.fixture(scope="module")
def splits(drawn_faces: Path) -> Splits:
    return split_faces(read_faces(drawn_faces).faces)


# The recipe that everything else is compared with: one number, squared error, flips, a rate that waits for plateaus.
PLAIN: dict[str, object] = {
    "head": "regression",
    "augment": "flip",
    "schedule": "plateau",
    "warmup_epochs": 0,
    "ema_decay": 0.0,
}


def make_fit(splits: Splits, **changes: object) -> Fit:
    config, _ = resolve(TrainConfig.from_dict({**SMALL_RUN, **changes}))
    torch.manual_seed(config.seed)
    model = build_model(config.model_name, "none", head=config.head, mean_age=30.0)
    return Fit(open_fabric("cpu", "float32"), model, config, splits.train, splits.validation, Progress(False))


def train(fit: Fit, start: Snapshot | None = None) -> list[Epoch]:
    return [epoch for epoch, _ in fit.epochs(start)]


def numbers(epochs: Iterable[Epoch]) -> list[Epoch]:
    """All that a run computes; the speed alone is the clock's."""
    return [dataclasses.replace(epoch, images_per_second=0) for epoch in epochs]


def test_the_phases_share_the_epochs() -> None:
    phases = plan(TrainConfig(epochs=5, head_epochs=2, learning_rate=1.0, finetune_learning_rate=0.5))
    assert [(p.part, p.first, p.last, p.learning_rate) for p in phases] == [
        ("head", 1, 2, 1.0),
        ("all", 3, 5, 0.5),
    ]


@pytest.mark.parametrize(("head", "parts"), [(0, ["all"]), (5, ["head"])])
def test_a_phase_without_epochs_is_left_out(head: int, parts: list[str]) -> None:
    config = TrainConfig(epochs=5, head_epochs=head, finetune_learning_rate=0.5)
    assert [phase.part for phase in plan(config)] == parts


def test_the_head_phase_leaves_the_backbone_bit_identical(splits: Splits) -> None:
    fit = make_fit(splits, epochs=2, head_epochs=2)
    before = {name: value.clone() for name, value in fit.model.state_dict().items()}
    train(fit)
    for name, value in fit.model.state_dict().items():
        assert torch.equal(value, before[name]) == (not name.startswith("head.")), name


def test_the_head_phase_looks_at_each_face_once(splits: Splits) -> None:
    fit = make_fit(splits, epochs=5, head_epochs=5)
    seen: list[int] = []
    fit.model.backbone.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    train(fit)
    assert sum(seen) == len(splits.train) + len(splits.validation)


def test_each_view_of_a_face_is_augmented_in_its_own_way_every_time(splits: Splits) -> None:
    fit = make_fit(splits, augment="flip,affine,colour")
    faces = splits.validation[:8]
    plain, one, again, other = (fit.predict(faces, "view", view=view) for view in (None, 0, 0, 1))
    assert torch.equal(one, again)
    for a, b in ((plain, one), (one, other)):
        assert (a != b).any(dim=1).all()


def test_intervals_are_calibrated_on_moved_faces(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained network says the same of all faces, so here the outputs are drawn: those of a view, and others."""
    fit = make_fit(splits, augment="affine")
    ages = torch.tensor([face.age for face in splits.validation])
    random = torch.Generator().manual_seed(0)
    outputs = {view: torch.randn(len(ages), BINS, generator=random) for view in (0, None)}
    monkeypatch.setattr(fit, "predict", lambda faces, label, view=None: outputs[view])
    scales = {
        view: fit_conformal(fit.model.age(drawn), fit.model.probabilities(drawn), ages, 0.9).scale
        for view, drawn in outputs.items()
    }
    assert calibrate(fit, splits.validation, 0.9).conformal.scale == scales[0] != scales[None]


def test_the_full_phase_trains_everything(splits: Splits) -> None:
    fit = make_fit(splits, epochs=1, head_epochs=0)
    before = {name: value.clone() for name, value in fit.model.named_parameters()}
    train(fit)
    unchanged = [name for name, value in fit.model.named_parameters() if torch.equal(value, before[name])]
    assert unchanged == []


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers_and_another_others(splits: Splits) -> None:
    first, again, other = (numbers(train(make_fit(splits, seed=seed))) for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "recipe"),
    [(0, PLAIN), (2, PLAIN), (0, {"schedule": "cosine"})],
)
def test_a_run_resumed_after_any_epoch_is_the_uninterrupted_run(
    splits: Splits, tmp_path: Path, workers: int, recipe: dict[str, object]
) -> None:
    whole: list[Epoch] = []
    states: list[Path] = []
    fit = make_fit(splits, workers=workers, **recipe)
    for epoch, snapshot in fit.epochs():
        whole.append(epoch)
        states.append(tmp_path / f"{epoch.number}.pt")
        Checkpoint(list(whole), snapshot).save(states[-1])
    final = fit.model.state_dict()
    for number, path in enumerate(states[:-1], start=1):
        checkpoint = Checkpoint.load(path)
        assert numbers(checkpoint.history) == numbers(whole[:number])
        resumed = make_fit(splits, workers=workers, **recipe)
        assert numbers(train(resumed, checkpoint.snapshot)) == numbers(whole[number:])
        assert all(torch.equal(value, final[name]) for name, value in resumed.model.state_dict().items())


@pytest.mark.slow
def test_the_workers_do_not_change_the_numbers(splits: Splits) -> None:
    without, with_workers = (numbers(train(make_fit(splits, workers=workers))) for workers in (0, 2))
    assert without == with_workers


def test_the_rate_falls_on_a_plateau(splits: Splits) -> None:
    # A rate at which the network gets better, by less than the threshold: every epoch but the first is a plateau.
    fit = make_fit(splits, epochs=6, head_epochs=6, learning_rate=1e-6, schedule="plateau")
    epochs = train(fit)
    assert [epoch.learning_rate for epoch in epochs] == pytest.approx([1e-6, 1e-6, 1e-6, 3e-7, 3e-7, 9e-8])
    assert epochs[2].metrics.mse < epochs[1].metrics.mse < epochs[0].metrics.mse


def test_a_diverging_run_stops_and_says_so(splits: Splits) -> None:
    with pytest.raises(RunError, match="epoch 1: the loss is no longer a number: lower the learning rate"):
        train(make_fit(splits, epochs=2, head_epochs=2, learning_rate=1e30))


def test_too_few_faces_for_a_batch_are_refused(splits: Splits) -> None:
    with pytest.raises(DataError, match="do not fill one batch of 1000"):
        make_fit(splits, batch_size=1000)


def test_shuffled_batches_deal_every_image_at_most_once() -> None:
    batches = ShuffledBatches(50, 8, seed=0)
    keys = [key for batch in batches for key in batch]
    assert len(batches) == 6
    assert len(keys) == len(set(keys)) == 48
    batches.epoch = 1
    assert [key[1] for batch in batches for key in batch] != [key[1] for key in keys]


def test_two_processes_deal_the_batches_of_one() -> None:
    whole = list(ShuffledBatches(50, 8, seed=3))
    left, right = (list(ShuffledBatches(50, 8, seed=3, rank=rank, world=2)) for rank in (0, 1))
    assert [sorted(a + b) for a, b in zip(left, right, strict=True)] == [sorted(batch) for batch in whole]


def test_ordered_batches_cover_every_image_once() -> None:
    shares = [[key[1] for batch in OrderedBatches(131, rank=rank, world=2) for key in batch] for rank in (0, 1)]
    assert shares == [list(range(0, 131, 2)), list(range(1, 131, 2))]


def test_a_process_without_a_share_takes_the_first_image_so_that_it_has_a_row_to_gather() -> None:
    shares = [[key[1] for batch in OrderedBatches(2, rank=rank, world=4) for key in batch] for rank in range(4)]
    assert shares == [[0], [1], [0], [0]]
    assert not list(OrderedBatches(0))


def test_the_number_of_workers_is_invisible(splits: Splits) -> None:
    def items(workers: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        dataset = FaceDataset(splits.train, 32, "bilinear", seed=5, augmentations=AUGMENTATIONS)
        batches = ShuffledBatches(len(dataset), 16, seed=5)
        return list(loader(dataset, batches, workers=workers, pinned=False))

    for (faces, ages), (same_faces, same_ages) in zip(items(0), items(2), strict=True):
        assert torch.equal(faces, same_faces)
        assert torch.equal(ages, same_ages)


def test_a_flip_mirrors_about_half_of_the_faces_and_differs_by_epoch(splits: Splits) -> None:
    plain = FaceDataset(splits.train, 32, "bilinear", seed=5)
    flipping = FaceDataset(splits.train, 32, "bilinear", seed=5, augmentations=["flip"])
    mirrored = []
    for epoch in (1, 2):
        for index in range(40):
            face, seen = plain[(epoch, index)][0], flipping[(epoch, index)][0]
            assert torch.equal(seen, face) or torch.equal(seen, face.flip(1))
            mirrored.append(not torch.equal(seen, face))
    assert 20 < sum(mirrored) < 60  # 80 fair coins: outside of it once in a million
    assert mirrored[:40] != mirrored[40:]


def test_the_validation_is_of_the_averaged_weights(splits: Splits) -> None:
    fit = make_fit(splits, epochs=1, head_epochs=0, ema_decay=0.9)
    ((epoch, snapshot),) = fit.epochs()
    raw = {name: value.clone() for name, value in fit.model.state_dict().items()}
    assert snapshot.evaluated.keys() == raw.keys()
    assert any(not torch.equal(value, raw[name]) for name, value in snapshot.evaluated.items())
    fit.model.load_state_dict(snapshot.evaluated)
    ages = fit.model.age(fit.predict(splits.validation, "again"))
    true = torch.tensor([face.age for face in splits.validation])
    assert (ages - true).abs().mean().item() == pytest.approx(epoch.metrics.mae, abs=1e-4)  # float32 against float64


def test_without_averaging_the_weights_are_evaluated_as_they_are(splits: Splits) -> None:
    fit = make_fit(splits, epochs=1, head_epochs=0, ema_decay=0.0)
    ((_, snapshot),) = fit.epochs()
    assert snapshot.evaluated is snapshot.model
