"""A search for settings on drawn faces: real trials of a real study, some of whose processes are killed."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import optuna
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.projects._project_spec import load_project
from optuna.storages._heartbeat import NullHeartbeatThread
from optuna.study import Study, _optimize
from optuna.trial import Trial, TrialState

from agedetect.cli import main
from agedetect.config import TrainConfig
from agedetect.data.faces import FaceSet, read_faces
from agedetect.data.splits import split_faces
from agedetect.errors import ConfigError, RunError
from agedetect.tracking.shared_study import RUN_ID, SharedStudy
from agedetect.tracking.study_database import locked, shown, study_url
from agedetect.tracking.trials import TrialRun, begin_winner_run, end_study_run, log_study, trial_run
from agedetect.training.search import Tuned
from agedetect.training.search_space import search_space
from agedetect.training.tune import tune
from agedetect_runtime.errors import AgedetectError
from conftest import ROOT, CallIn, command_environment, options
from export_store import tracking
from training_runs import client_of

# The head alone: once there are features, a trial takes a fraction of a second.
SMALL: dict[str, Any] = {
    "model_name": "mobilenet_v2",
    "weights": "none",
    "image_size": 32,
    "batch_size": 16,
    "epochs": 4,
    "head_epochs": 4,
    "workers": 0,
    "device": "cpu",
    "precision": "float32",
}
TRIALS = 10
BEGUN = r"trial \d+: learning_rate="
# Of a process that was killed: 35 seconds until it is missed are too long for a test.
IMPATIENT = (
    "from agedetect.tracking import shared_study as s; s.HEARTBEAT_SECONDS, s.GRACE_SECONDS = 1, 3; "
    "from agedetect.cli import main; main()"
)


@pytest.fixture(scope="module")
def found(drawn_faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tuned, Path]]:
    """A study whose test faces were deleted once the list of faces was read."""
    folder = tmp_path_factory.mktemp("study")
    faces = without(folder, drawn_faces, "test")
    with tracking(f"sqlite:///{folder / 'mlflow.db'}"):
        yield tune(faces, TrainConfig(**SMALL), trials=TRIALS, fixed=("head_epochs",), retrain=False), folder


def without(folder: Path, drawn: Path, split: str) -> FaceSet:
    """A copy of the drawn faces, read, of which the files of one split are then deleted."""
    copy = folder / "faces"
    shutil.copytree(drawn, copy)
    faces = read_faces(copy)
    for face in getattr(split_faces(faces.faces), split):
        face.path.unlink()
    assert len(list(copy.iterdir())) < len(faces.faces)
    return faces


def children(folder: Path, parent: str) -> list[Run]:
    client = client_of(folder)
    experiment = client.get_run(parent).info.experiment_id
    return list(client.search_runs([experiment], f"tags.mlflow.parentRunId = '{parent}'"))


@pytest.mark.slow
def test_a_search_needs_no_test_face_and_registers_nothing(found: tuple[Tuned, Path]) -> None:
    tuned, folder = found
    runs = children(folder, tuned.run_id)
    assert len(runs) == tuned.trials == TRIALS
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert not [name for run in runs for name in run.data.metrics if "test" in name]
    assert list(client_of(folder).search_registered_models()) == []


@pytest.mark.slow
def test_a_search_opens_the_validation_faces(found: tuple[Tuned, Path], drawn_faces: Path, tmp_path: Path) -> None:
    """Else the test above could not fail."""
    faces = without(tmp_path, drawn_faces, "validation")
    with tracking(f"sqlite:///{found[1] / 'mlflow.db'}"), pytest.raises(AgedetectError, match="no such file"):
        tune(faces, TrainConfig(**SMALL), trials=1, study="other", retrain=False)


@pytest.mark.slow
def test_some_trials_end_early_and_never_win(found: tuple[Tuned, Path]) -> None:
    tuned, folder = found
    client = client_of(folder)
    epochs = {
        run.data.tags["mlflow.runName"]: len(client.get_metric_history(run.info.run_id, "validation/mae"))
        for run in children(folder, tuned.run_id)
    }
    pruned = {name: count for name, count in epochs.items() if "pruned" in name}
    assert 0 < len(pruned) == tuned.pruned < TRIALS - 5  # the first five show what the others are compared with
    assert all(name.endswith(f"after epoch {count}") for name, count in pruned.items())
    assert set(pruned.values()) <= {2, 3}
    assert {count for name, count in epochs.items() if name not in pruned} == {4}
    assert f"trial {tuned.number}: validation MAE {tuned.validation_mae:.3f}" in epochs


@pytest.mark.slow
def test_the_recipe_itself_is_the_first_trial(found: tuple[Tuned, Path]) -> None:
    tuned, folder = found
    first = min(children(folder, tuned.run_id), key=lambda run: run.info.start_time)
    assert first.data.params == {
        "learning_rate": "0.001",
        "weight_decay": "0.01",
        "dropout": "0.1",
        "label_sigma": "2.0",
    }
    assert tuned.validation_mae <= first.data.metrics["validation/mae"]


@pytest.mark.slow
def test_the_parent_has_the_table_and_both_figures(found: tuple[Tuned, Path]) -> None:
    tuned, folder = found
    client = client_of(folder)
    assert {item.path for item in client.list_artifacts(tuned.run_id, "figures")} == {
        "figures/history.png",
        "figures/importance.png",
    }
    table = Path(client.download_artifacts(tuned.run_id, "study/trials.csv", str(folder))).read_text()
    assert len(table.splitlines()) == TRIALS + 1
    assert client.get_run(tuned.run_id).info.status == "FINISHED"


def start(folder: Path, faces: Path, trials: int) -> subprocess.Popen[str]:
    arguments = ["tune", str(faces), "--trials", str(trials), "--study", "shared", *options(SMALL)]
    return subprocess.Popen(
        [sys.executable, "-c", IMPATIENT, *arguments],
        cwd=folder,
        env=command_environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_two_processes_share_the_trials_and_one_finishes_those_of_a_killed_one(
    drawn_faces: Path, tmp_path: Path
) -> None:
    """Together six, the killed one's trial again with its settings, and one registered model: the best trial's."""
    first, second = (start(tmp_path, drawn_faces, 6) for _ in range(2))
    assert first.stderr is not None
    begun = (line for line in first.stderr if re.match(BEGUN, line))
    next(begun)
    next(begun)
    first.send_signal(signal.SIGKILL)
    first.wait()
    out, err = second.communicate(timeout=500)
    assert second.returncode == 0, err
    assert "best of 6 trials" in out
    with tracking(f"sqlite:///{tmp_path / 'mlflow.db'}"):
        url = study_url()
        study = optuna.load_study(study_name="shared", storage=url)
        trials = study.get_trials(deepcopy=False)
        ended = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        (lost,) = [trial for trial in trials if trial.state is TrialState.FAIL]
        assert len(ended) == 6
        assert len(trials) == 7
        assert lost.params in [trial.params for trial in ended]
        assert len(re.findall(BEGUN, err, re.MULTILINE)) < 6  # the first had its share
        assert client_of(tmp_path).get_run(lost.user_attrs["run_id"]).info.status == "KILLED"
        check_the_winner(tmp_path, study.user_attrs["winner"]["run_id"], study.best_value)
        again = tune(drawn_faces, TrainConfig(**SMALL), trials=6, study="shared", fixed=())
        assert again.trials == 6
        assert again.trained is None
        check_the_winner(tmp_path, study.user_attrs["winner"]["run_id"], study.best_value)


def check_the_winner(folder: Path, run_id: str, validation_mae: float) -> None:
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (version,) = client.search_model_versions("name = 'agedetect'")
    assert version.run_id == run_id
    # the same seed, batches and operations on the same machine: equal but for the order of sums in the threads
    assert client.get_run(run_id).data.metrics["validation/mae"] == pytest.approx(validation_mae, abs=1e-3)


def test_what_is_given_is_not_searched_nor_what_would_change_nothing() -> None:
    config = TrainConfig(epochs=10, head_epochs=4, finetune_learning_rate=8e-5, loss="dldl_v2")
    everything = {"finetune_learning_rate", "head_epochs", "weight_decay", "dropout", "label_sigma"}
    assert search_space(config, ()).distributions.keys() == everything
    assert search_space(config, ("dropout",)).distributions.keys() == everything - {"dropout"}
    head = TrainConfig(epochs=4, head_epochs=4, head="regression", loss="l1")
    assert search_space(head, ()).distributions.keys() == {"learning_rate", "weight_decay", "dropout"}
    scratch = TrainConfig(weights="none", head_epochs=0, finetune_learning_rate=2e-3, loss="dldl_v2")
    assert "head_epochs" not in search_space(scratch, ()).distributions


def test_trials_are_pruned_where_all_of_them_fine_tune() -> None:
    config = TrainConfig(epochs=10, head_epochs=4, finetune_learning_rate=8e-5)
    space = search_space(config, ())
    assert space.pruned_from == space.distributions["head_epochs"].high + 2


@pytest.mark.parametrize(
    ("store", "given", "expected"),
    [
        ("sqlite:///mlflow.db", "", "sqlite:///mlflow-optuna.db"),
        ("sqlite:////srv/my runs/a.db", "", "sqlite:////srv/my runs/a-optuna.db"),
        ("postgresql://me:secret@host/runs", "", "postgresql://me:secret@host/runs"),
        ("https://mlflow.example.org", "", "sqlite:///optuna.db"),
        ("https://mlflow.example.org", "postgresql://host/runs", "postgresql://host/runs"),
    ],
)
def test_the_study_is_in_the_stores_database_or_beside_it(store: str, given: str, expected: str) -> None:
    with tracking(store):
        assert study_url(given) == expected


def test_a_password_is_not_shown() -> None:
    assert "secret" not in shown("postgresql://me:secret@host/runs")


@pytest.mark.parametrize("given", ["mysql://host/runs", "somewhere"])
def test_another_database_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match=r"give sqlite:///FILE or postgresql://"):
        study_url(given)


def test_a_lock_is_had_by_one_at_a_time(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    with locked(url, "a/b"):
        with locked(url, "a/b", wait=False) as second:
            assert not second
        with locked(url, "other", wait=False) as third:
            assert third
    with locked(url, "a/b", wait=False) as again:
        assert again


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocol", "folds5"], "choose it with --fold"),
        (
            [
                "--head-epochs",
                "0",
                *options(dict.fromkeys(("dropout", "weight-decay"), 0.1)),
                "--finetune-learning-rate",
                "1e-4",
                "--loss",
                "cross_entropy",
            ],
            "every setting that is searched was given",
        ),
        (["--storage", "mysql://host/runs"], "--storage: mysql is not supported"),
    ],
)
def test_what_cannot_be_searched_is_one_line(
    call_in: CallIn, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = call_in(tmp_path, "tune", "nowhere", "--trials", "2", "--device", "cpu", *arguments)
    assert done.exit_code == 1
    assert message in done.output
    assert len(done.output.strip().splitlines()) == 1


@pytest.mark.slow
def test_a_process_that_slept_leaves_its_trial_to_others(found: tuple[Tuned, Path]) -> None:
    def objective(trial: Trial) -> float:
        shared.study.tell(trial.number, state=TrialState.FAIL)  # as another process does without a heartbeat
        return 1.0

    with tracking(f"sqlite:///{found[1] / 'mlflow.db'}"):
        shared = SharedStudy(study_url(), "slept", {}, {})
        assert shared.next(1, objective, pruned_from=0, seed=0)
        assert shared.count() == 0
        assert shared.next(1, lambda trial: 1.0, pruned_from=0, seed=0)
        assert shared.count() == 1
        assert not shared.next(1, objective, pruned_from=0, seed=0)


RECIPE = {"rate": 0.123}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow store that a test may leave, as a server that goes away."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('studies') / 'mlflow.db'}"
    with tracking(uri):
        yield uri


@pytest.fixture
def study(store: str, request: pytest.FixtureRequest) -> SharedStudy:
    return SharedStudy(study_url(), request.node.name, {}, RECIPE)


@pytest.fixture(scope="module")
def silent() -> Iterator[str]:
    """The address of a server that takes a request and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def again(study: SharedStudy) -> SharedStudy:
    return SharedStudy(study.url, study.name, {}, RECIPE)


def rates_of(study: SharedStudy, trials: int) -> list[float]:
    """Of the finished trials, once there are `trials`."""
    for _ in range(10):
        if not study.next(trials, lambda trial: trial.suggest_float("rate", 0, 1), pruned_from=0, seed=0):
            break
    ended = study.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial.params["rate"] for trial in ended]


def status(run_id: str) -> str:
    return str(MlflowClient().get_run(run_id).info.status)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MlflowException, OSError])
@pytest.mark.parametrize("suggested", [True, False])
def test_a_trial_that_does_not_end_is_begun_again_with_its_settings(
    study: SharedStudy, stop: type[BaseException], suggested: bool
) -> None:
    def objective(trial: Trial) -> float:
        if suggested:
            trial.suggest_float("rate", 0, 1)
        raise stop("in the middle of it")

    for _ in range(2):
        with pytest.raises(stop):
            study.next(2, objective, pruned_from=0, seed=0)
    assert rates_of(again(study), 2)[0] == RECIPE["rate"]


def test_a_pruned_trial_is_not_begun_again(study: SharedStudy) -> None:
    def objective(trial: Trial) -> float:
        trial.suggest_float("rate", 0, 1)
        raise optuna.TrialPruned

    assert study.next(2, objective, pruned_from=0, seed=0)
    assert RECIPE["rate"] not in rates_of(study, 2)
    assert study.count() == 2


def test_a_trial_that_another_process_has_is_not_begun_once_more(study: SharedStudy) -> None:
    def objective(trial: Trial) -> float:
        trial.suggest_float("rate", 0, 1)
        study.study.tell(trial.number, state=TrialState.FAIL)
        trial.report(1.0, 1)
        raise AssertionError("Optuna takes a report of a failed trial")

    assert study.next(1, objective, pruned_from=0, seed=0)
    assert study.count(TrialState.WAITING) == 0


@pytest.mark.parametrize("step", ["enqueue_trial", "set_user_attr"])
def test_a_study_killed_while_it_begins_has_its_recipe_once(
    store: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """After either of the steps that begin it."""
    whole = getattr(Study, step)

    def killed(study: Study, *values: Any, **options: Any) -> None:
        whole(study, *values, **options)
        if "settings" not in values:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Study, step, killed)
        with pytest.raises(KeyboardInterrupt):
            SharedStudy(study_url(), step, {}, RECIPE)
    study = SharedStudy(study_url(), step, {}, RECIPE)
    assert study.count(TrialState.WAITING) == 1
    assert rates_of(study, 1) == [RECIPE["rate"]]


def test_lost_trials_are_begun_again_while_the_server_is_away(study: SharedStudy, silent: str) -> None:
    """Both of two, though the runs of neither can be ended."""
    lost = [study.study.ask() for _ in range(2)]
    for trial in lost:
        trial.suggest_float("rate", 0, 1)
        trial.set_user_attr(RUN_ID, "0" * 32)
        study.storage.record_heartbeat(trial._trial_id)
    with study.storage.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE trial_heartbeats SET heartbeat = '2000-01-01 00:00:00'")
    with tracking(silent):
        study._retry_lost()
    assert study.count(TrialState.WAITING) == 2
    assert rates_of(study, 2) == [trial.params["rate"] for trial in lost]


def test_a_trial_that_was_killed_before_its_first_heartbeat_is_begun_again(study: SharedStudy) -> None:
    study.study.ask()
    assert rates_of(study, 1) == [RECIPE["rate"]]


def test_a_trial_whose_heart_beats_is_not_taken_for_lost(study: SharedStudy) -> None:
    """However long it has no run, and whatever the time of its machine."""
    trial = study.study.ask()
    study.storage.record_heartbeat(trial._trial_id)
    with study.storage.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE trials SET datetime_start = '2000-01-01 00:00:00'")
    study._retry_lost()
    assert study.count(TrialState.RUNNING) == 1


def test_a_trial_has_a_heartbeat_before_others_look_for_it(study: SharedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where Optuna's thread for it comes late, here never."""
    monkeypatch.setattr(_optimize, "get_heartbeat_thread", lambda *_: NullHeartbeatThread())

    def objective(trial: Trial) -> float:
        other = again(study)
        with locked(study.url, study.name):
            other._retry_lost()
        return 1.0

    assert study.next(1, objective, pruned_from=0, seed=0)
    assert study.count() == 1


def test_a_silent_server_holds_the_end_of_a_search_up_for_seconds(silent: str) -> None:
    """Two of them, and the rest is for a busy machine: the training's limit is 30."""
    began = time.monotonic()
    with tracking(silent):
        end_study_run("0" * 32, finished=False)
    assert time.monotonic() - began < 10


def test_a_run_that_could_not_be_ended_is_ended_when_the_study_goes_on(study: SharedStudy, silent: str) -> None:
    """And no other: not the winner's, which trains, and not that of a trial of another process."""
    away = ExitStack()

    def objective(trial: Trial) -> float:
        with trial_run(study.run_id, trial.number) as run:
            trial.set_user_attr(RUN_ID, run.id)
            away.enter_context(tracking(silent))
            raise OSError("the disk is full")

    with away, pytest.raises(OSError, match="the disk is full"):
        study.next(1, objective, pruned_from=0, seed=0)
    lost = study.study.trials[0].user_attrs[RUN_ID]
    winner = begin_winner_run(study.run_id)
    with trial_run(study.run_id, 1) as other:
        study.study.ask().set_user_attr(RUN_ID, other.id)
        assert {status(run_id) for run_id in (lost, winner, other.id)} == {"RUNNING"}
        again(study)
        assert status(lost) == "KILLED"
        assert {status(run_id) for run_id in (winner, other.id)} == {"RUNNING"}


def test_the_best_is_logged_once_by_all_processes(study: SharedStudy) -> None:
    rates_of(study, 1)
    for part in (study, again(study)):
        log_study(part.run_id, part.study, n=3)
    (point,) = MlflowClient().get_metric_history(study.run_id, "validation/mae")
    assert point.value == RECIPE["rate"]


@pytest.mark.slow
def test_the_run_of_a_trial_is_known_before_anything_is_sent_to_it(
    store: str, drawn_faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it is ended, and the recipe's settings come again, when the same command goes on."""

    def away(run: TrialRun, params: object) -> None:
        raise MlflowException("no answer")

    monkeypatch.setattr(TrialRun, "log_params", away)
    with pytest.raises(RunError, match="the MLflow store failed: no answer; the same command goes on"):
        tune(drawn_faces, TrainConfig(**SMALL), trials=1, study="away", retrain=False)
    trial, waiting = optuna.load_study(study_name="away", storage=study_url()).trials
    assert status(trial.user_attrs[RUN_ID]) == "FAILED"
    assert waiting.system_attrs["fixed_params"] == trial.params


@pytest.mark.slow
def test_other_settings_do_not_join_a_study(found: tuple[Tuned, Path], drawn_faces: Path, call_in: CallIn) -> None:
    tuned, folder = found
    arguments = ["tune", drawn_faces, "--trials", "20", "--study", tuned.study, *options({**SMALL, "batch_size": 8})]
    done = call_in(folder, *arguments)
    assert done.exit_code == 1
    assert f"study {tuned.study}: it has batch_size=16 instead of 8" in done.output


def test_the_project_has_an_entry_point_whose_words_the_command_takes() -> None:
    entry = load_project(str(ROOT)).get_entry_point("tune")
    words = entry.compute_command({"data": "faces", "trials": "3", "image_size": "64"}, None).split()
    context = {"token_normalize_func": main.context_settings["token_normalize_func"]}
    assert words[:6] == ["env", "PYTHONPATH=.:export:runtime", "python", "-m", "agedetect", "tune"]
    with main.commands["tune"].make_context("tune", words[6:], parent=click.Context(main, **context)) as taken:
        assert taken.params["trials"] == 3
        assert taken.params["image_size"] == 64
        assert str(taken.params["data"]) == "faces"
