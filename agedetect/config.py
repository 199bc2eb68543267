"""TrainConfig: the one place where a training parameter, its default, its help and its bounds are written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from numbers import Integral, Real
from pathlib import PurePath
from typing import Any

from agedetect.data.protocols import PROTOCOLS
from agedetect.errors import ConfigError

BACKBONES = ("resnet50", "resnet34", "efficientnet_b0", "mobilenet_v2")
LOCAL_DIR = "timm/local-dir:"  # a backbone in a folder
# MLflow takes a name with ' and can't search for it; with @ it would be no address.
REGISTERED_NAME = re.compile(r"[^.\s/:@'][^/:@']*")
REGISTERED_NAME_RULE = "a model's name has no / : @ ' and begins with no dot or space"
AUTO = "auto"
DEVICES = (AUTO, "cpu", "cuda")
PRECISIONS = (AUTO, "float32", "bfloat16")
HEADS = ("distribution", "regression")
HEAD_OF_LOSS = {
    "mse": "regression",
    "l1": "regression",
    "cross_entropy": "distribution",
    "soft_labels": "distribution",
    "dldl_v2": "distribution",
}
LOSSES = (AUTO, *HEAD_OF_LOSS)
DEFAULT_LOSS = {"regression": "mse", "distribution": "dldl_v2"}
AUGMENTATIONS = ("flip", "crop", "affine", "colour", "erase")
SCHEDULES = ("cosine", "plateau")
KINDS: dict[type, tuple[type, str]] = {
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    bool: (bool, "True or False"),
    str: (str, "text"),
}
EVALUATION_SPLITS = ("auto", "test", "validation", "all")
# ReduceLROnPlateau. One epoch moves the MAE by up to 3% by chance (docs/results.md), so one alone decides nothing; EMA
# gains less than 1% an epoch once the rate is too high, which torch's own threshold of 0.01% takes for progress.
PLATEAU_EPOCHS, PLATEAU_THRESHOLD = 2, 0.02
RENAMED = {"full_learning_rate": "finetune_learning_rate", "flip_average": "flip_tta"}  # former names, for one version
REMOVED = ("plateau_epochs",)  # in the configs of earlier runs

# What 'auto' stands for, by what the weights were trained on; docs/decisions.md says which of it is measured.
RECIPES: dict[str, dict[str, float]] = {
    "imagenet": {"head_epochs": 1, "finetune_learning_rate": 5e-4, "warmup_epochs": 1},
    "faces": {"head_epochs": 4, "finetune_learning_rate": 2.5e-4, "warmup_epochs": 0},
    "scratch": {"head_epochs": 0, "finetune_learning_rate": 2e-3, "warmup_epochs": 1},
}
STARTS = (AUTO, *RECIPES)


def parameter(
    default: Any,
    help: str,
    *,
    kind: type | None = None,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """A field that becomes a command-line option; `low` and `high` are the least and largest values allowed.

    `kind` is the type of the numbers that stand beside the default 'auto'.
    """
    metadata = {"help": help, "kind": kind or type(default), "choices": choices, "low": low, "high": high}
    return field(default=default, metadata=metadata)


def _by_start(name: str) -> str:
    return "'auto': " + ", ".join(f"{recipe[name]:g} for {start}" for start, recipe in RECIPES.items()) + "."


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides a training run."""

    data_dir: str = parameter("UTKFace_data", "Labelled faces: a folder, .tar.gz, .zip or CSV manifest.")
    model_name: str = parameter(
        "resnet50", "Backbone: resnet50, resnet34, efficientnet_b0, mobilenet_v2, or timm/NAME as timm names it."
    )
    weights: str = parameter("imagenet", "'imagenet' (the published ones, downloaded), 'none', or a state dict file.")
    start: str = parameter(
        AUTO,
        "What the weights were trained on. 'auto': scratch for weights=none, faces where timm's configuration of the "
        "backbone names a face-recognition data set or loss, else imagenet.",
        choices=STARTS,
    )
    epochs: int = parameter(20, "Total number of epochs, including the head phase.", low=1)
    head_epochs: int | str = parameter(
        AUTO,
        f"Epochs of the head phase (linear probing), with the backbone frozen. {_by_start('head_epochs')}",
        kind=int,
        low=0,
    )
    learning_rate: float = parameter(1e-3, "AdamW learning rate in the head phase.", low=0)
    finetune_learning_rate: float | str = parameter(
        AUTO,
        f"AdamW learning rate in the fine-tuning phase. {_by_start('finetune_learning_rate')}",
        kind=float,
        low=0,
    )
    weight_decay: float = parameter(1e-2, "AdamW weight decay, of all weights but norms and biases.", low=0)
    batch_size: int = parameter(32, "Batch size, over all processes together.", low=2)
    image_size: int = parameter(224, "Side of the square input image, in pixels.", low=32, high=1024)
    head: str = parameter("distribution", "A distribution over whole years, or a single value.", choices=HEADS)
    loss: str = parameter(
        AUTO, "'auto' is dldl_v2 for the distribution head, mse for the regression head.", choices=LOSSES
    )
    use_focal_loss: bool = parameter(False, "Focal MSE, which weights the squared error by its size (regression head).")
    label_sigma: float = parameter(2.0, "Standard deviation of the soft labels, in years.", low=0.1)
    dropout: float = parameter(0.1, "Dropout rate in the head.", low=0)
    augment: str = parameter("flip,affine,colour", f"Any of {','.join(AUGMENTATIONS)}, or 'none'.")
    schedule: str = parameter(
        "cosine",
        "Learning rate of the last phase: 'cosine' decays to zero, and the last epoch is kept; 'plateau' is lowered "
        f"after {PLATEAU_EPOCHS} epochs whose validation MAE is less than {PLATEAU_THRESHOLD:.0%} below the best, and "
        "the best epoch is kept.",
        choices=SCHEDULES,
    )
    warmup_epochs: int | str = parameter(
        AUTO,
        f"Epochs of learning-rate warm-up in the fine-tuning phase. {_by_start('warmup_epochs')}",
        kind=int,
        low=0,
    )
    ema_decay: float = parameter(0.998, "Decay of the weights' moving average (EMA) per step; 0 turns it off.", low=0)
    flip_tta: bool = parameter(False, "Test-time flip: average over a face and its mirror image.")
    coverage: float = parameter(0.9, "Nominal coverage of the prediction intervals.", low=0.5)
    protocol: str = parameter(
        "holdout", "80/10/10, five 60/20/20 splits, or 80/20 of ages 21 to 60.", choices=tuple(PROTOCOLS)
    )
    fold: int = parameter(-1, "Fold of the protocol; -1 trains all of them under a parent run.", low=-1)
    split_seed: int = parameter(0, "Random seed of the split.", low=0)
    seed: int = parameter(0, "Random seed of the initial head, the batches and the augmentation.", low=0)
    device: str = parameter(AUTO, "Training device; 'cuda' never falls back to the CPU.", choices=DEVICES)
    precision: str = parameter(AUTO, "'auto' is bfloat16 on a GPU that supports it, else float32.", choices=PRECISIONS)
    workers: int | str = parameter(
        AUTO, "Number of processes that decode images. 'auto': all usable cores but one, from 1 to 8.", kind=int, low=0
    )
    data_licence: str = parameter(
        "UTKFace: non-commercial research only", "Licence of the faces, recorded in the model."
    )
    max_skipped: float = parameter(0.01, "Largest share of unusable files with which training starts.", low=0)
    registered_model_name: str = parameter("agedetect", "Name in the MLflow model registry; 'none' registers nothing.")

    def __post_init__(self) -> None:
        problems = self._out_of_bounds() or self._contradictions()
        if problems:
            raise ConfigError("; ".join(problems))

    def _out_of_bounds(self) -> list[str]:
        found = []
        for item in fields(self):
            value, choices = getattr(self, item.name), item.metadata["choices"]
            low, high = item.metadata["low"], item.metadata["high"]
            if choices and value not in choices:
                found.append(f"{item.name}={value}: is none of {', '.join(choices)}")
            if value == AUTO == item.default:
                continue
            kind, wanted = KINDS[item.metadata["kind"]]
            if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
                found.append(f"{item.name}={value}: is not {wanted}" + (" or auto" if item.default == AUTO else ""))
                continue
            if low is not None and not value >= low:
                found.append(f"{item.name}={value}: must be at least {low:g}")
            if high is not None and not value <= high:
                found.append(f"{item.name}={value}: must be at most {high:g}")
        return found

    def _contradictions(self) -> list[str]:
        found = []
        if self.model_name not in BACKBONES and not self.model_name.startswith("timm/"):
            found.append(f"model_name={self.model_name}: is none of {', '.join(BACKBONES)}, nor timm/NAME")
        if isinstance(self.head_epochs, int) and self.head_epochs > self.epochs:
            found.append(f"head_epochs={self.head_epochs} is more than epochs={self.epochs}, the total")
        if self.start != AUTO and (self.start == "scratch") != (self.weights == "none"):
            found.append(f"start={self.start} does not go with weights={self.weights}; weights=none means scratch")
        if self.loss_name == "focal_mse" and self.loss not in (AUTO, "mse"):
            found.append(f"use_focal_loss weighs the squared error: it does not go with loss={self.loss}")
        needed = "regression" if self.use_focal_loss else HEAD_OF_LOSS.get(self.loss, self.head)
        if needed != self.head:
            loss = "use_focal_loss" if self.use_focal_loss else f"loss={self.loss}"
            found.append(f"{loss} needs head={needed}, not head={self.head}")
        strange = [name for name in self.augmentations if name not in AUGMENTATIONS]
        if strange:
            found.append(f"augment: {', '.join(strange)}: is none of {', '.join(AUGMENTATIONS)}, nor 'none' alone")
        folds = PROTOCOLS[self.protocol].folds if self.protocol in PROTOCOLS else 0
        if folds and self.fold >= folds:
            found.append(f"fold={self.fold}: the protocol {self.protocol} has {folds}, the first is 0")
        if self.ema_decay >= 1:
            found.append(f"ema_decay={self.ema_decay}: must be below 1")
        if self.coverage >= 1:
            found.append(f"coverage={self.coverage}: must be below 1")
        if not REGISTERED_NAME.fullmatch(self.registered_model_name):
            found.append(f"registered_model_name={self.registered_model_name!r}: {REGISTERED_NAME_RULE}")
        if self.dropout >= 1:
            found.append(f"dropout={self.dropout}: must be below 1")
        return found

    @property
    def augmentations(self) -> tuple[str, ...]:
        """The names in `augment`; empty for 'none'."""
        names = tuple(name.strip() for name in self.augment.split(","))
        return () if names == ("none",) else names

    @property
    def backbone_label(self) -> str:
        """`model_name` without the folders of this machine."""
        place = self.model_name.removeprefix(LOCAL_DIR)
        return self.model_name if place == self.model_name else f"timm/{PurePath(place).name}"

    @property
    def all_folds(self) -> bool:
        """Whether all folds of the protocol are trained, each in a run of its own under a parent run."""
        return self.fold < 0 and PROTOCOLS[self.protocol].folds > 1

    @property
    def keeps_best(self) -> bool:
        """Whether the epoch with the lowest validation MAE is kept instead of the last one.

        A plateau needs it, as it may end anywhere. A cosine ends where it should, and what the validation faces didn't
        choose, they can calibrate.
        """
        return self.schedule == "plateau"

    @property
    def loss_name(self) -> str:
        """The loss that 'auto' and `use_focal_loss` stand for."""
        if self.use_focal_loss:
            return "focal_mse"
        return DEFAULT_LOSS[self.head] if self.loss == AUTO else self.loss

    def to_dict(self) -> dict[str, Any]:
        """Every field by its name, as logged to MLflow."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """From what `to_dict` gave, of an earlier version too. Raises ConfigError for an unknown name."""
        if not values.keys().isdisjoint(REMOVED) and (values.get("loss"), values.get("head")) == (AUTO, "distribution"):
            values = {**values, "loss": "soft_labels"}  # what 'auto' was then
        values = {RENAMED.get(name, name): value for name, value in values.items() if name not in REMOVED}
        unknown = sorted(set(values) - {item.name for item in fields(cls)})
        if unknown:
            raise ConfigError(f"unknown parameter {', '.join(unknown)}")
        return cls(**values)
