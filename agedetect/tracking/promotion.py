"""The alias `champion` in MLflow's registry: moved by evidence, which is written on the version either way."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

from agedetect.data.faces import read_faces
from agedetect.errors import DataError, RunError
from agedetect.evaluation.predictions import Predictions, read_predictions
from agedetect.evaluation.promotion import MARGIN, judge
from agedetect.evaluation.subset import choose_faces
from agedetect.reports.text import verdict
from agedetect.tracking.address import Address
from agedetect.tracking.exported import EXPORTED_AS
from agedetect.tracking.patience import require_server
from agedetect.tracking.reading import RegisteredModel, load_registered_model
from agedetect.tracking.registry import LONGEST_DESCRIPTION
from agedetect.tracking.store import download, not_found, one_line
from agedetect_runtime import ModelError

CHAMPION = "champion"
VERDICT_TAG, REASON_TAG, BEFORE_TAG = "promotion", "promotion_reason", "champion_before"
_TABLE = "evaluation/predictions.csv"
_HEADING = "## Promotion"

Answers = Callable[[RegisteredModel], Predictions]  # a model's answers for the faces that both are judged on


@dataclass(frozen=True)
class Decision:
    """What was decided about a version of a registered model, and `reason`, one line.

    `moved` says whether the alias stands somewhere else now, or would without a dry run; `export` is the address of the
    version's registered export, whose alias follows, None where it has none; `orphan` is then the name that the last
    champion's export is registered under, which has no champion until this version is exported. `is_champion` is true
    of a version that had the alias before.
    """

    name: str
    version: str
    moved: bool
    reason: str
    export: str | None = None
    orphan: str | None = None
    is_champion: bool = False


def promote(
    address: str,
    *,
    answers: Answers | None = None,
    margin: float = MARGIN,
    first: bool = False,
    dry_run: bool = False,
) -> Decision:
    """Move `champion` to the version at `address`, models:/NAME@ALIAS or models:/NAME/VERSION, if it is better.

    Both are judged by the test predictions of their runs, or by `answers`. Without a champion, `first` makes the
    version it. Raises ModelError for an unknown version, DataError where the two can't be compared.
    """
    challenger = load_registered_model(address)
    if challenger.registered_name is None or challenger.version is None:
        raise ModelError(f"{address}: only a registered version can be promoted: give models:/NAME@ALIAS or /VERSION")
    name, version = challenger.registered_name, challenger.version
    before = _champion(name)
    if before is None:
        decision = _first(name, version, allowed=first)
    elif before == version:
        return Decision(name, version, False, "it is the champion already", is_champion=True)
    else:
        champion = load_registered_model(f"models:/{name}/{before}")
        found = answers or _test_predictions
        judgement = judge(
            found(challenger),
            found(champion),
            names=(challenger.name, champion.name),
            nominal_coverage=challenger.spec.coverage,
            margin=margin,
        )
        reason = "; ".join((verdict(judgement.comparison), *judgement.objections))
        decision = Decision(name, version, judgement.favourable, reason)
    return _carried_out(decision, before, dry_run)


def rollback(name: str, *, dry_run: bool = False) -> Decision:
    """Move `champion` back to the version that it was promoted over. Raises ModelError where there is none."""
    require_server()
    version = _champion(name)
    if version is None:
        raise ModelError(f"models:/{name}@{CHAMPION}: there is none to roll back")
    before = _version(name, version).tags.get(BEFORE_TAG)
    if before is None:
        raise ModelError(f"{name} version {version}: it was not promoted over another version")
    _version(name, before)
    if not dry_run:
        _note(name, version, "rolled back", f"version {before} is the champion again")
    return _carried_out(Decision(name, before, True, f"rolled back from version {version}"), None, dry_run)


def answers_on(data: Path) -> Answers:
    """Answers for labelled faces: those that a model's own run kept apart, or all where it was trained on others."""
    face_set = read_faces(data)

    def answers(model: RegisteredModel) -> Predictions:
        return model.predict(choose_faces(face_set, model.spec).faces)

    return answers


def _first(name: str, version: str, *, allowed: bool) -> Decision:
    if allowed:
        return Decision(name, version, True, "the first champion: there was none to compare it with")
    return Decision(name, version, False, f"{name} has no champion to compare it with: --first makes it the first")


def _champion(name: str) -> str | None:
    try:
        return str(MlflowClient().get_registered_model(name).aliases.get(CHAMPION, "")) or None
    except MlflowException as error:
        raise ModelError(not_found(f"models:/{name}", error)) from error


def _version(name: str, version: str) -> ModelVersion:
    try:
        return MlflowClient().get_model_version(name, version)
    except MlflowException as error:
        raise ModelError(not_found(f"models:/{name}/{version}", error)) from error


def _test_predictions(model: RegisteredModel) -> Predictions:
    """Those that the model's run logged: nobody looks at the test faces again."""
    with TemporaryDirectory(prefix="agedetect-predictions-") as scratch:
        try:
            return read_predictions(download(f"runs:/{model.run_id}/{_TABLE}", Path(scratch)))
        except (ModelError, DataError) as error:
            raise DataError(
                f"{model.name}: its run has no test predictions: {error}; give faces with --data"
            ) from error


def _carried_out(decision: Decision, before: str | None, dry_run: bool) -> Decision:
    if not decision.moved:
        if not dry_run:
            _write(decision, before)
        return decision
    last = _champion(decision.name)
    old = _export_of(decision.name, last) if last else None
    new = _export_of(decision.name, decision.version)
    orphan = old.name if old and (new is None or new.name != old.name) else None
    if not dry_run:
        _write(decision, before)
        _move_aliases(decision, new, orphan)
    return replace(decision, export=new.uri if new else None, orphan=orphan)


def _export_of(name: str, version: str) -> Address | None:
    """None where it has none, or where that was deleted."""
    tags: dict[str, str] = _version(name, version).tags
    if EXPORTED_AS not in tags:
        return None
    export = Address.parse(tags[EXPORTED_AS])
    try:
        MlflowClient().get_model_version(str(export.name), str(export.version))
    except MlflowException as error:
        if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            return None
        raise RunError(f"{export.uri}: the export of {name} version {version}: {one_line(error)}") from error
    return export


def _move_aliases(decision: Decision, export: Address | None, orphan: str | None) -> None:
    """The exports' first: a command that is killed in between finds the last champion again, and does it all.

    The last champion's export must not be served as the champion, whether the new one has an export or not.
    """
    client = MlflowClient()
    try:
        if export and export.name and export.version:
            client.set_registered_model_alias(export.name, CHAMPION, export.version)
        if orphan and CHAMPION in client.get_registered_model(orphan).aliases:
            client.delete_registered_model_alias(orphan, CHAMPION)
        client.set_registered_model_alias(decision.name, CHAMPION, decision.version)
    except MlflowException as error:
        raise RunError(
            f"{decision.name} version {decision.version}: the alias {CHAMPION} was not moved: {one_line(error)}; "
            "give the command again"
        ) from error


def _write(decision: Decision, before: str | None) -> None:
    """Before the aliases move: none ever stands without its reason."""
    client = MlflowClient()
    try:
        if decision.moved and before is not None:
            client.set_model_version_tag(decision.name, decision.version, BEFORE_TAG, before)
        _note(decision.name, decision.version, "promoted" if decision.moved else "refused", decision.reason)
    except MlflowException as error:
        raise RunError(
            f"{decision.name} version {decision.version}: the decision was not written: {one_line(error)}"
        ) from error


def _note(name: str, version: str, word: str, reason: str) -> None:
    """As tags, and at the top of the version's description."""
    client = MlflowClient()
    client.set_model_version_tag(name, version, VERDICT_TAG, word)
    client.set_model_version_tag(name, version, REASON_TAG, reason)
    card = client.get_model_version(name, version).description or ""
    card = re.sub(rf"^{_HEADING}\n\n.*\n\n", "", card, flags=re.MULTILINE)
    today = datetime.now(UTC).date().isoformat()
    text = f"{_HEADING}\n\n{word.capitalize()} on {today}: {reason}.\n\n{card}"
    client.update_model_version(name, version, description=text[:LONGEST_DESCRIPTION])
