"""TrainConfig: the one place where a training parameter, its default, its help and its bounds are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import PurePath
from typing import Any

from agedetect.data.protocols import PROTOCOLS
from agedetect.errors import ConfigError

BACKBONES = ("resnet50", "resnet34", "efficientnet_b0", "mobilenet_v2")
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "float32", "bfloat16")
HEADS = ("distribution", "regression")
HEAD_OF_LOSS = {
    "mse": "regression",
    "l1": "regression",
    "cross_entropy": "distribution",
    "soft_labels": "distribution",
    "dldl_v2": "distribution",
}
LOSSES = ("auto", *HEAD_OF_LOSS)
DEFAULT_LOSS = {"regression": "mse", "distribution": "soft_labels"}
AUGMENTATIONS = ("flip", "rotate", "crop", "affine", "colour", "blur", "jpeg", "erase")
SCHEDULES = ("plateau", "cosine")
EVALUATION_SPLITS = ("auto", "test", "validation", "all")
RENAMED = {"full_learning_rate": "finetune_learning_rate", "flip_average": "flip_tta"}  # former names, for one version


def parameter(
    default: Any, help: str, *, choices: tuple[str, ...] = (), low: float | None = None, high: float | None = None
) -> Any:
    """A field that becomes a command-line option; `low` and `high` are the least and largest values allowed."""
    return field(default=default, metadata={"help": help, "choices": choices, "low": low, "high": high})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides a training run."""

    data_dir: str = parameter("UTKFace_data", "Labelled faces: a folder, .tar.gz, .zip or CSV manifest.")
    model_name: str = parameter(
        "resnet50", "Backbone: resnet50, resnet34, efficientnet_b0, mobilenet_v2, or timm/NAME as timm names it."
    )
    weights: str = parameter("imagenet", "'imagenet' (the published ones, downloaded), 'none', or a state dict file.")
    epochs: int = parameter(20, "Total number of epochs, including the head phase.", low=1)
    head_epochs: int = parameter(3, "Epochs of the head phase (linear probing), with the backbone frozen.", low=0)
    learning_rate: float = parameter(1e-3, "AdamW learning rate in the head phase.", low=0)
    finetune_learning_rate: float = parameter(5e-4, "AdamW learning rate in the fine-tuning phase.", low=0)
    weight_decay: float = parameter(1e-2, "AdamW weight decay.", low=0)
    batch_size: int = parameter(32, "Batch size, over all processes together.", low=2)
    image_size: int = parameter(224, "Side of the square input image, in pixels.", low=32, high=1024)
    head: str = parameter("distribution", "A distribution over whole years, or a single value.", choices=HEADS)
    loss: str = parameter(
        "auto", "'auto' is soft_labels for the distribution head, mse for the regression head.", choices=LOSSES
    )
    use_focal_loss: bool = parameter(False, "Focal MSE, which weights the squared error by its size (regression head).")
    label_sigma: float = parameter(2.0, "Standard deviation of the soft labels, in years.", low=0.1)
    dropout: float = parameter(0.1, "Dropout rate in the head.", low=0)
    augment: str = parameter("flip,crop", "Any of flip,rotate,crop,affine,colour,blur,jpeg,erase, or 'none'.")
    schedule: str = parameter("plateau", "Learning-rate schedule of the fine-tuning phase.", choices=SCHEDULES)
    plateau_epochs: int = parameter(1, "Epochs without a better validation MAE before the rate is lowered.", low=0)
    warmup_epochs: int = parameter(0, "Epochs of learning-rate warm-up in the fine-tuning phase.", low=0)
    ema_decay: float = parameter(0.998, "Decay of the weights' moving average (EMA) per step; 0 turns it off.", low=0)
    flip_tta: bool = parameter(False, "Test-time flip: average over a face and its mirror image.")
    coverage: float = parameter(0.9, "Nominal coverage of the prediction intervals.", low=0.5)
    protocol: str = parameter(
        "holdout", "80/10/10, five 60/20/20 splits, or 80/20 of ages 21 to 60.", choices=tuple(PROTOCOLS)
    )
    fold: int = parameter(-1, "Fold of the protocol; -1 trains all of them under a parent run.", low=-1)
    split_seed: int = parameter(0, "Random seed of the split.", low=0)
    seed: int = parameter(0, "Random seed of the initial head, the batches and the augmentation.", low=0)
    device: str = parameter("auto", "Training device; 'cuda' never falls back to the CPU.", choices=DEVICES)
    precision: str = parameter(
        "auto", "'auto' is bfloat16 on a GPU that supports it, else float32.", choices=PRECISIONS
    )
    workers: int = parameter(2, "Number of processes that decode images.", low=0)
    data_licence: str = parameter(
        "UTKFace: non-commercial research only", "Licence of the faces, recorded in the model."
    )
    max_skipped: float = parameter(0.01, "Largest share of unusable files with which training starts.", low=0)
    registered_model_name: str = parameter("agedetect", "Name in the MLflow model registry; 'none' registers nothing.")

    def __post_init__(self) -> None:
        problems = [*self._out_of_bounds(), *self._contradictions()]
        if problems:
            raise ConfigError("; ".join(problems))

    def _out_of_bounds(self) -> list[str]:
        found = []
        for item in fields(self):
            value, choices = getattr(self, item.name), item.metadata["choices"]
            low, high = item.metadata["low"], item.metadata["high"]
            if choices and value not in choices:
                found.append(f"{item.name}={value}: is none of {', '.join(choices)}")
            if low is not None and not value >= low:
                found.append(f"{item.name}={value}: must be at least {low:g}")
            if high is not None and not value <= high:
                found.append(f"{item.name}={value}: must be at most {high:g}")
        return found

    def _contradictions(self) -> list[str]:
        found = []
        if self.model_name not in BACKBONES and not self.model_name.startswith("timm/"):
            found.append(f"model_name={self.model_name}: is none of {', '.join(BACKBONES)}, nor timm/NAME")
        if self.head_epochs > self.epochs:
            found.append(f"head_epochs={self.head_epochs} is more than epochs={self.epochs}, the total")
        if self.loss_name == "focal_mse" and self.loss not in ("auto", "mse"):
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
        if not self.registered_model_name.strip() or set(self.registered_model_name) & set("/:"):
            found.append(f"registered_model_name={self.registered_model_name!r}: MLflow takes no empty one, / or :")
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
        kind, colon, place = self.model_name.partition(":")
        return f"timm/{PurePath(place).name}" if kind == "timm/local-dir" and colon else self.model_name

    @property
    def all_folds(self) -> bool:
        """Whether all folds of the protocol are trained, each in a run of its own under a parent run."""
        return self.fold < 0 and PROTOCOLS[self.protocol].folds > 1

    @property
    def loss_name(self) -> str:
        """The loss that 'auto' and `use_focal_loss` stand for."""
        if self.use_focal_loss:
            return "focal_mse"
        return DEFAULT_LOSS[self.head] if self.loss == "auto" else self.loss

    def to_dict(self) -> dict[str, Any]:
        """Every field by its name, as logged to MLflow."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """From what `to_dict` gave, former names included. Raises ConfigError for an unknown name."""
        values = {RENAMED.get(name, name): value for name, value in values.items()}
        unknown = sorted(set(values) - {item.name for item in fields(cls)})
        if unknown:
            raise ConfigError(f"unknown parameter {', '.join(unknown)}")
        return cls(**values)
