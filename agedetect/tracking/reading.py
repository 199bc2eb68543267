"""What MLflow holds, read back: a model by its address, a run's settings and the faces of its split."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.entities import LifecycleStage
from mlflow.exceptions import MlflowException

from agedetect.config import TrainConfig
from agedetect.errors import ConfigError, RunError
from agedetect.evaluation.predictor import Predictor
from agedetect.models.inference import CalibratedModel
from agedetect.models.registered import DESCRIPTION, load_registered
from agedetect.tracking.address import Address
from agedetect.tracking.patience import require_server
from agedetect.tracking.store import download, not_found, one_line, require_store, store_exists, tracking_uri
from agedetect_runtime import ModelError

CONFIG = "config.json"
SPLITS = "data/splits.csv"
MODEL_FOLDER = "data/age_model"  # in an MLflow model's folder
EXPORTED = "data/exported/model.onnx"  # of an exported model
_RUN_ID = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class RegisteredModel(Predictor):
    """A trained model that MLflow logged.

    `registered_name` and `version` are the registry's, None for a model that was named by its run or folder. `tracked`
    says whether the store in use knows `run_id`: a folder, and a version registered from one, may come from another.
    """

    address: str
    network: CalibratedModel = field(repr=False)
    run_id: str | None
    registered_name: str | None
    version: str | None
    tracked: bool


def load_registered_model(address: str) -> RegisteredModel:
    """Load models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN_ID/model or an MLflow model folder.

    Raises ModelError where MLflow doesn't know it, or where it isn't a model that this version registers. It is read
    as data: neither MLflow's loaders nor anything in the model runs.
    """
    try:
        parsed = Address.parse(address)
    except ValueError as error:
        raise ModelError(str(error)) from error
    if parsed.folder is None:
        require_store(address)
        require_server()
    version = _version_number(parsed)
    fixed = f"models:/{parsed.name}/{version}" if version else address  # the alias may move while this runs
    with TemporaryDirectory(prefix="agedetect-model-") as scratch:
        folder = parsed.folder or download(fixed, Path(scratch))
        if parsed.folder is None and next(folder.glob("*"), None) is None:  # MLflow takes that for an empty model
            raise ModelError(f"{address}: its files are gone from the artifact store: put them back, or train it again")
        try:
            network, spec = load_registered(_model_folder(folder))
        except ModelError as error:
            raise ModelError(f"{address}: {error}") from error
    run_id = spec.provenance.get("run_id")
    known = run_id if isinstance(run_id, str) and _RUN_ID.fullmatch(run_id) else None
    # a report names no folder of the machine
    name = parsed.folder.name if parsed.folder else f"{parsed.name} version {version}" if version else address
    return RegisteredModel(
        name=name,
        spec=spec,
        predict_fn=network.predict,
        address=address,
        network=network,
        run_id=known,
        registered_name=parsed.name,
        version=version,
        tracked=_knows_run(known),
    )


def listed_faces(model: RegisteredModel, split: str, remedy: str) -> list[tuple[Path, float]]:
    """The images of the split "train" or "validation" that the model's run lists, with ages in years.

    They may or may not be on this machine. Raises ModelError where the run has no such list; `remedy` is its advice.
    """
    if not model.tracked:
        raise ModelError(f"{model.address}: its run is not in {tracking_uri()}; {remedy}")
    run = f"run {model.run_id}"
    with TemporaryDirectory(prefix="agedetect-splits-") as scratch:
        table = download(f"runs:/{model.run_id}/{SPLITS}", Path(scratch))
        try:
            with table.open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
                rows = [row for row in csv.DictReader(lines) if row["split"] == split]
            return [(Path(row["path"]), float(row["age"])) for row in rows]
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{run}: {SPLITS} lacks a column or a number: {error}; {remedy}") from error
        except (csv.Error, OSError) as error:
            raise ModelError(f"{run}: {SPLITS} can't be read: {error}; {remedy}") from error


def read_config(run_id: str) -> TrainConfig:
    """The settings of a run. Raises RunError where the tracking server doesn't know it, or it isn't one of ours."""
    with TemporaryDirectory(prefix="agedetect-config-") as scratch:
        try:
            path = download(f"runs:/{run_id}/{CONFIG}", Path(scratch))
            return TrainConfig.from_dict(json.loads(path.read_text()))
        except ConfigError as error:
            raise RunError(f"run {run_id}: this version can't train with its settings: {error}; start anew") from error
        except (ModelError, OSError, ValueError, TypeError) as error:
            raise RunError(f"run {run_id}: no training run with this id was found: {one_line(error)}") from error


def is_deleted(run_id: str) -> bool:
    return bool(MlflowClient().get_run(run_id).info.lifecycle_stage == LifecycleStage.DELETED)


def _model_folder(folder: Path) -> Path:
    """Where the model's files lie; an exported one, and one of an earlier version, a program, are refused."""
    if (folder / DESCRIPTION).is_file():
        return folder
    if (folder / EXPORTED).is_file():
        raise ModelError(
            f"it is an exported model: download it with `mlflow artifacts download` and name its {EXPORTED}"
        )
    programs = [
        name for name in ("model.pt2", "model.pth", "pickle_module_info.txt") if (folder / "data" / name).exists()
    ]
    if programs:
        raise ModelError(
            f"it holds a program ({programs[0]}), as earlier versions registered: programs are not loaded; train it "
            "again with `agedetect train`"
        )
    return folder / MODEL_FOLDER


def _version_number(address: Address) -> str | None:
    if address.name is None or address.alias is None:
        return address.version
    try:
        found = MlflowClient().get_model_version_by_alias(address.name, address.alias)
    except MlflowException as error:
        raise ModelError(not_found(address.uri, error)) from error
    return str(found.version)


def _knows_run(run_id: str | None) -> bool:
    if run_id is None or not store_exists():
        return False
    try:
        MlflowClient().get_run(run_id)
    except MlflowException:
        return False
    return True
