"""What a run starts from: it decides every setting that is 'auto', before the run begins."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from agedetect.config import AUTO, DEFAULT_LOSS, LOCAL_DIR, RECIPES, TrainConfig
from agedetect.errors import ResourceError, explained
from agedetect.models.timm_backbones import face_recognition_word, is_timm
from agedetect.training.distributed import choose_device, use_bfloat16
from agedetect_runtime.cores import usable_cores

_SHARED_MEMORY = Path("/dev/shm")  # Linux's, through which the workers give their batches
_BATCHES_AHEAD = 3  # of each worker: two wait, one is made
MOST_WORKERS = 8  # each holds whole batches in memory, and the step has to keep up with them


def resolve(config: TrainConfig) -> tuple[TrainConfig, str]:
    """The config with a value for every 'auto' and absolute paths, and a line that says which and why.

    Raises ConfigError for a device that isn't there, WeightsError where timm doesn't know the backbone, ResourceError
    where there is no room for the workers' batches or for temporary files: before the faces are decoded.
    """
    device = choose_device(config.device)
    start, reason = starting_point(config)
    found = {
        "start": start,
        **_phases(config, RECIPES[start]),
        "loss": DEFAULT_LOSS[config.head],
        "device": device,
        "precision": "bfloat16" if use_bfloat16(config.precision, device) else "float32",
        "workers": _workers(),
    }
    chosen: dict[str, Any] = {name: value for name, value in found.items() if getattr(config, name) == AUTO}
    resolved = dataclasses.replace(config, **_absolute(config), **chosen)
    require_room(resolved)
    values = ", ".join(f"{name}={getattr(resolved, name)}" for name in found if name != "start")
    return resolved, f"start={start} ({reason}): {values}"


def _absolute(config: TrainConfig) -> dict[str, Any]:
    """The settings that name files, so that the run resumes from any folder."""
    found = {"data_dir": str(Path(config.data_dir).absolute())}
    if config.weights not in ("imagenet", "none"):
        found["weights"] = str(Path(config.weights).absolute())
    if config.model_name.startswith(LOCAL_DIR):
        found["model_name"] = f"{LOCAL_DIR}{Path(config.model_name.removeprefix(LOCAL_DIR)).absolute()}"
    return found


def starting_point(config: TrainConfig) -> tuple[str, str]:
    """A key of RECIPES, and the reason."""
    if config.start != AUTO:
        return config.start, "as given"
    if config.weights == "none":
        return "scratch", "weights=none"
    if config.weights != "imagenet":
        return "imagenet", "what a weights file is taken for; otherwise give --start faces"
    word = face_recognition_word(config.model_name) if is_timm(config.model_name) else None
    if word:
        return "faces", f"the backbone's configuration names {word}"
    return "imagenet", "the published weights"


def require_room(config: TrainConfig) -> None:
    """Raises ResourceError where /dev/shm is too small for the batches, or no temporary folder can be written.

    In too small a /dev/shm a worker is killed by a bus error, or drops its batch, for which training waits in vain.
    """
    with explained():
        tempfile.gettempdir()  # the folder that it finds once holds for the whole process
    needed = _BATCHES_AHEAD * int(config.workers) * config.batch_size * config.image_size**2 * 3  # bytes
    if not needed or not _SHARED_MEMORY.is_dir():
        return
    free = shutil.disk_usage(_SHARED_MEMORY).free
    if free < needed:
        raise ResourceError(
            f"{_SHARED_MEMORY}: {free / 1e6:.1f} MB are free, {config.workers} workers need {needed / 1e6:.1f}: "
            "enlarge it (docker run --shm-size 1g), or give fewer --workers; 0 need none"
        )


def _phases(config: TrainConfig, recipe: dict[str, float]) -> dict[str, float]:
    """The recipe within the epochs that there are: a warm-up leaves an epoch of the fine-tuning phase to follow it."""
    head = min(recipe["head_epochs"], config.epochs) if config.head_epochs == AUTO else int(config.head_epochs)
    warmup = min(recipe["warmup_epochs"], max(0, config.epochs - head - 1))
    return {**recipe, "head_epochs": head, "warmup_epochs": warmup}


def _workers() -> int:
    """For each of torchrun's processes on this machine; a core is left for the training step."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(MOST_WORKERS, max(1, usable_cores() // processes - 1))
