"""The MLflow side of an export: the model in, the file and its report out. Nothing is unpickled."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

import mlflow.artifacts
import mlflow.pytorch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from agedetect_export.address import Address
from agedetect_export.columns import name_columns
from agedetect_runtime import ModelError, ModelSpec
from agedetect_runtime.spec import METADATA_KEY

if TYPE_CHECKING:
    import torch

    from agedetect_export.report import ParityReport

SPLITS = "data/splits.csv"
EXPORT_FOLDER = "export"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A trained model. `program`: faces, uint8 (B, S, S, 3) RGB -> what `spec.outputs` names.

    `name` and `version` are the registry's, None for a model that was named by its run or folder. `tracked`
    tells whether the tracking store in use knows `run_id`: a folder, and a version registered from one, may
    come from another store.
    """

    uri: str
    program: torch.nn.Module
    spec: ModelSpec
    run_id: str | None
    name: str | None
    version: str | None
    tracked: bool

    @property
    def label(self) -> str:
        """For messages: "agedetect version 3", or what was asked for."""
        return f"{self.name} version {self.version}" if self.name else self.uri


def load_source(uri: str) -> Source:
    """Load models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN_ID/model or an MLflow model folder.

    Raises ModelError where MLflow doesn't know it, where it isn't a model of agedetect, or where loading it
    could execute code that it carries.
    """
    try:
        address = Address.parse(uri)
    except ValueError as error:
        raise ModelError(str(error)) from error
    if address.folder is None:
        _require_store(uri)
    version = _version_number(address)
    fixed = f"models:/{address.name}/{version}" if version else uri  # the alias may move while this runs
    with TemporaryDirectory(prefix="agedetect-export-") as scratch:
        folder = address.folder or _download(fixed, Path(scratch))
        description = _describe(uri, folder)
        spec = _read_spec(uri, description)
        program = name_columns(_load_program(uri, folder, description), spec)
    return Source(
        uri=uri,
        program=program,
        spec=spec,
        run_id=description.run_id,
        name=address.name,
        version=version,
        tracked=_knows_run(description.run_id),
    )


def validation_faces(source: Source) -> list[tuple[Path, float]]:
    """The validation images that the source's run lists, with their ages in years, whether here or not.

    Test images are not touched: the exporter may choose by what it sees. Raises ModelError where the run
    has no such list.
    """
    return listed_faces(source, "validation", "give images with --faces")


def listed_faces(source: Source, side: str, remedy: str) -> list[tuple[Path, float]]:
    """The same of the side "train" or "validation"; `remedy` is what an error advises."""
    if not source.tracked or source.run_id is None:
        raise ModelError(f"{source.uri}: its run is not in {tracking_uri()}; {remedy}")
    run = f"run {source.run_id}"
    with TemporaryDirectory(prefix="agedetect-export-") as scratch:
        table = _download(f"runs:/{source.run_id}/{SPLITS}", Path(scratch))
        try:
            with table.open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
                rows = [row for row in csv.DictReader(lines) if row["side"] == side]
            return [(Path(row["path"]), float(row["age"])) for row in rows]
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{run}: {SPLITS} lacks a column or a number: {error}; {remedy}") from error
        except (csv.Error, OSError) as error:
            raise ModelError(f"{run}: {SPLITS} can't be read: {error}; {remedy}") from error


def log_export(source: Source, files: Sequence[Path], report: ParityReport) -> None:
    """Log the files under `export/` and the report's metrics to the source's run, and tag the model version.

    Raises ModelError where MLflow refuses.
    """
    if source.run_id is None:
        raise ModelError(f"{source.uri}: it has no run to log the export to")
    client = MlflowClient()
    try:
        with _environment(MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false"):
            for file in files:
                client.log_artifact(source.run_id, str(file), EXPORT_FOLDER)
        for name, value in report.metrics().items():
            client.log_metric(source.run_id, name, value)
        if source.name and source.version:
            for name, verdict in report.verdicts().items():
                client.set_model_version_tag(source.name, source.version, name, verdict)
    except (MlflowException, OSError) as error:
        raise ModelError(f"run {source.run_id}: the export was not logged: {_one_line(error)}") from error
    except ModuleNotFoundError as error:
        raise ModelError(_missing_package(f"run {source.run_id}", error)) from error


def tracking_uri() -> str:
    """The tracking URI in use, without the user name and password that it may carry."""
    uri = mlflow.get_tracking_uri()
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _store_exists() -> bool:
    """MLflow makes an empty database where there is none, which would hide a wrong working directory."""
    parts = urlsplit(mlflow.get_tracking_uri())
    # "sqlite:///mlflow.db" is relative, "sqlite:////srv/my%20runs/mlflow.db" is not
    return parts.scheme != "sqlite" or Path(unquote(parts.path.removeprefix("/"))).is_file()


def _require_store(uri: str) -> None:
    if not _store_exists():
        raise ModelError(
            f"{uri}: no MLflow store at {tracking_uri()}; "
            "run in the folder that the model was trained in, or set MLFLOW_TRACKING_URI"
        )


def _version_number(address: Address) -> str | None:
    if address.name is None or address.alias is None:
        return address.version
    try:
        found = MlflowClient().get_model_version_by_alias(address.name, address.alias)
    except MlflowException as error:
        raise ModelError(_not_found(address.uri, error)) from error
    return str(found.version)


def _download(uri: str, scratch: Path) -> Path:
    try:
        with _environment(MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false"):
            return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(scratch)))
    except (MlflowException, OSError) as error:
        raise ModelError(_not_found(uri, error)) from error
    except ModuleNotFoundError as error:
        raise ModelError(_missing_package(uri, error)) from error


def _knows_run(run_id: str | None) -> bool:
    if run_id is None or not _store_exists():
        return False
    try:
        MlflowClient().get_run(run_id)
    except MlflowException:
        return False
    return True


def _describe(uri: str, folder: Path) -> Model:
    try:
        return Model.load(str(folder))
    except MlflowException as error:
        raise ModelError(f"{uri}: not an MLflow model: {_one_line(error)}") from error


def _read_spec(uri: str, description: Model) -> ModelSpec:
    text = (description.metadata or {}).get(METADATA_KEY)
    if not isinstance(text, str):
        raise ModelError(f"{uri}: no {METADATA_KEY!r} metadata; only models that `agedetect train` logged export")
    try:
        return ModelSpec.from_json(text)
    except ModelError as error:
        raise ModelError(f"{uri}: {error}") from error


def _load_program(uri: str, folder: Path, description: Model) -> torch.nn.Module:
    """The checks come first: MLflow imports what a pickled model names before it refuses the pickle."""
    flavor = description.flavors.get("pytorch", {})
    data = folder / str(flavor.get("model_data", "data"))
    if not (data / "model.pt2").is_file() or (data / "model.pth").exists():
        raise ModelError(f"{uri}: not in MLflow's pt2 format; pickled models are refused, log it as pt2")
    if flavor.get("code"):
        raise ModelError(f"{uri}: it carries Python code; models are loaded without running any, log it without")
    try:
        with _environment(MLFLOW_ALLOW_PICKLE_DESERIALIZATION="false"):
            program: torch.nn.Module = mlflow.pytorch.load_model(str(folder))
    except (MlflowException, OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"{uri}: its program was not loaded: {_one_line(error)}") from error
    return program


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _not_found(uri: str, error: Exception) -> str:
    return f"{uri}: not found in {tracking_uri()}: {_one_line(error)}"


def _missing_package(thing: str, error: ModuleNotFoundError) -> str:
    """MLflow imports the client of an artifact store, boto3 for S3 say, only when it talks to the store."""
    return f"{thing}: its artifact store needs a package that is not installed: {_one_line(error)}; install it"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
