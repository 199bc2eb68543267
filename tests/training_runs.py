"""What a training left in the MLflow store of its folder, and a way to stop one."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from conftest import command_environment, listen_to_ctrl_c


def client_of(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def experiment_id(folder: Path) -> str:
    experiment = client_of(folder).get_experiment_by_name("agedetect")
    assert experiment is not None
    return experiment.experiment_id


def only_run(folder: Path) -> Run:
    (run,) = client_of(folder).search_runs([experiment_id(folder)])
    return run


def series(folder: Path, run: Run) -> dict[str, list[tuple[int, float]]]:
    """Every metric's (step, value), without the clock's and the system's."""
    client = client_of(folder)
    names = [name for name in run.data.metrics if not name.startswith("system/") and "per_second" not in name]
    return {
        name: sorted({(item.step, item.value) for item in client.get_metric_history(run.info.run_id, name)})
        for name in names
    }


def artifacts(folder: Path, run: Run) -> set[str]:
    client = client_of(folder)
    roots = [item.path for item in client.list_artifacts(run.info.run_id)]
    below = [item.path for root in roots for item in client.list_artifacts(run.info.run_id, root)]
    return {*roots, *below}


def stop_after(sign: str, command: Sequence[str | Path], folder: Path, stop: signal.Signals) -> str:
    """Starts the command, sends `stop` once a line begins with `sign`, and returns what it wrote to stderr."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=command_environment(folder),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=listen_to_ctrl_c,
    )
    assert process.stderr is not None
    written = []
    for line in process.stderr:
        written.append(line)
        if line.startswith(sign):
            time.sleep(0.2)
            os.kill(process.pid, stop)
    assert process.wait(60) == 130, "".join(written)
    return "".join(written)
