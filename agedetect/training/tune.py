"""A search for the settings of a training run, on validation faces: the test faces are left to the winner."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from agedetect.config import TrainConfig
from agedetect.data.faces import FaceSet
from agedetect.data.splits import Splits, split_faces
from agedetect.errors import ConfigError
from agedetect.tracking.patience import require_server
from agedetect.tracking.shared_study import SharedStudy
from agedetect.tracking.study_database import shown, study_errors, study_url
from agedetect.training.search import Search, Tuned
from agedetect.training.search_space import SearchSpace, search_space
from agedetect.training.start import resolve
from agedetect.training.train import read, require_calibration

log = logging.getLogger("agedetect")

_OF_A_MACHINE = ("data_dir", "device", "precision", "workers")  # may differ between the processes of a study


def tune(
    faces: FaceSet | str | Path,
    config: TrainConfig | None = None,
    *,
    trials: int,
    study: str = "",
    storage: str = "",
    fixed: Collection[str] = (),
    retrain: bool = True,
) -> Tuned:
    """Search settings in `trials` trainings without their end, then train with the best, as `train` does.

    Processes with the same settings share a study and its `trials`; called again, it goes on. `study` gives it a name,
    `storage` another database than the MLflow store's; settings that are `fixed` are not searched.
    Raises AgedetectError before the first trial where the faces, the weights, the device or the study can't be used.
    """
    config = config or TrainConfig()
    if config.all_folds:
        raise ConfigError(f"protocol={config.protocol}: a search is about one fold: choose it with --fold")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("a trial trains in one process: start tune several times, and not with torchrun")
    given = faces if isinstance(faces, FaceSet) else None
    config = dataclasses.replace(config, data_dir=given.source if given else str(faces))
    resolved, started = resolve(config)
    space = search_space(resolved, fixed)
    if not space.distributions:
        raise ConfigError("every setting that is searched was given: omit one, or train")
    url = study_url(storage)
    log.info("%s", started)
    require_server()
    face_set = read(given, config)
    splits = split_faces(face_set.faces, seed=config.split_seed, protocol=config.protocol, fold=max(config.fold, 0))
    require_calibration(splits.validation, config)
    settings = _settings(config, space, splits)
    with study_errors(url):
        shared = SharedStudy(url, study or _name(config, settings), settings, space.defaults)
        log.info("study %s in %s, run %s", shared.name, shown(url), shared.run_id)
        return Search(shared, config, space, face_set, splits).run(trials, retrain=retrain)


def _settings(config: TrainConfig, space: SearchSpace, splits: Splits) -> dict[str, Any]:
    """What the processes of a study must agree on, by name."""
    kept = {name: value for name, value in config.to_dict().items() if name not in _OF_A_MACHINE}
    searched = {name: f"{found.low:g} to {found.high:g}" for name, found in space.distributions.items()}
    return {**kept, **searched, "split_fingerprint": splits.fingerprint}


def _name(config: TrainConfig, settings: dict[str, Any]) -> str:
    """The same for the same settings: so the same command goes on with its study."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return f"{config.backbone_label.replace('/', '-')}-{config.image_size}px-{digest}"
