"""TrainConfig: the one place where a training parameter, its default, its help and its bounds are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from agedetect.errors import ConfigError

BACKBONES = ("resnet50", "resnet34", "efficientnet_b0", "mobilenet_v2")
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "float32", "bfloat16")
LOSSES = ("mse", "l1")


def parameter(default: Any, help: str, *, choices: tuple[str, ...] = (), low: float | None = None) -> Any:
    """A field that becomes a command-line option; `low` is the least value allowed."""
    return field(default=default, metadata={"help": help, "choices": choices, "low": low})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides a training run. Rates are per optimizer step, epochs and images are counts."""

    data_dir: str = parameter("UTKFace_data", "Folder, .tar.gz, .zip or CSV manifest of labelled faces.")
    model_name: str = parameter("resnet50", "Backbone.", choices=BACKBONES)
    weights: str = parameter("imagenet", "'imagenet' (downloaded), 'none', or a state dict file.")
    epochs: int = parameter(20, "Epochs in total, the head phase included.", low=1)
    head_epochs: int = parameter(3, "Epochs of the head phase, the backbone frozen.", low=0)
    learning_rate: float = parameter(1e-3, "AdamW's rate in the head phase.", low=0)
    full_learning_rate: float = parameter(5e-4, "AdamW's rate when everything trains.", low=0)
    weight_decay: float = parameter(1e-2, "AdamW's weight decay.", low=0)
    batch_size: int = parameter(32, "Images a step, over all processes together.", low=2)
    image_size: int = parameter(224, "Side of the square the network sees, in pixels.", low=32)
    loss: str = parameter("mse", "Loss on the age in years.", choices=LOSSES)
    use_focal_loss: bool = parameter(False, "Weigh the squared error by its size (Focal MSE).")
    dropout: float = parameter(0.1, "Dropout in the head.", low=0)
    plateau_epochs: int = parameter(1, "Epochs without a better validation MAE before the rate falls.", low=0)
    seed: int = parameter(0, "Seed of the split, the initial head, the batches and the augmentation.", low=0)
    device: str = parameter("auto", "Where to train; 'cuda' never falls back to the CPU.", choices=DEVICES)
    precision: str = parameter("auto", "'auto' is bfloat16 where it is in hardware.", choices=PRECISIONS)
    workers: int = parameter(2, "Processes that decode images.", low=0)
    data_licence: str = parameter("UTKFace: non-commercial research only", "Licence of the faces, noted in the model.")
    max_skipped: float = parameter(0.01, "Share of the files that may be unusable before the run stops.", low=0)
    registered_model_name: str = parameter("agedetect", "Name in MLflow's model registry; 'none': not registered.")

    def __post_init__(self) -> None:
        problems = [*self._out_of_bounds(), *self._contradictions()]
        if problems:
            raise ConfigError("; ".join(problems))

    def _out_of_bounds(self) -> list[str]:
        found = []
        for item in fields(self):
            value, choices, low = getattr(self, item.name), item.metadata["choices"], item.metadata["low"]
            if choices and value not in choices:
                found.append(f"{item.name}={value}: is none of {', '.join(choices)}")
            if low is not None and not value >= low:
                found.append(f"{item.name}={value}: must be at least {low:g}")
        return found

    def _contradictions(self) -> list[str]:
        found = []
        if self.head_epochs > self.epochs:
            found.append(f"head_epochs={self.head_epochs} is more than epochs={self.epochs}, the total")
        if self.use_focal_loss and self.loss != "mse":
            found.append(f"use_focal_loss weighs the squared error: it does not go with loss={self.loss}")
        if not self.registered_model_name.strip() or set(self.registered_model_name) & set("/:"):
            found.append(f"registered_model_name={self.registered_model_name!r}: MLflow takes no empty one, / or :")
        if self.dropout >= 1:
            found.append(f"dropout={self.dropout}: must be below 1")
        return found

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """Raises ConfigError for a name that this version doesn't know."""
        unknown = sorted(set(values) - {item.name for item in fields(cls)})
        if unknown:
            raise ConfigError(f"unknown parameter {', '.join(unknown)}")
        return cls(**values)
