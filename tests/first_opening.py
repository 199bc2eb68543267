"""Processes that open an MLflow store at one moment, as trainings do that are started together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conftest import command_environment

# What a training does first: open the store, and find or make the experiment. One process imports MLflow, and its
# forks do the rest: eight imports would take longer than all that is tested.
OPEN = """
import logging, os, sys
import mlflow
from agedetect.tracking.initialise import ready_store
logging.disable()
children = []
for _ in range(int(sys.argv[1])):
    children.append(os.fork())
    if children[-1] == 0:
        ready_store()
        os.write(1, f"{mlflow.set_experiment('agedetect').experiment_id}\\n".encode())  # lines don't mix
        os._exit(0)
sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))
"""


def open_at_once(number: int, folder: Path, **environment: str) -> list[str]:
    """The experiment's id that each of the processes found."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", OPEN, str(number)],
        cwd=folder,
        env=command_environment(folder, **environment),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.returncode} of {number} failed: {done.stderr}"
    return done.stdout.split()
