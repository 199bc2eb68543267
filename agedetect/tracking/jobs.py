"""The runs of torchrun's jobs: a job that torchrun restarts goes on with the run that it began."""

from __future__ import annotations

from mlflow import MlflowClient

from agedetect.tracking.run_folder import kept_runs
from agedetect.tracking.store import FINISHED, store_errors

JOB_TAG = "torchrun.job"


def stopped_run_of(job: str) -> str | None:
    """The run that the job began and didn't finish: on this machine, or another's, as the server knows it."""
    for folder in kept_runs():
        if folder.facts().get("job") == job:
            return folder.run_id
    client = MlflowClient()
    with store_errors(f"job {job}"):
        experiments = [found.experiment_id for found in client.search_experiments()]
        runs = client.search_runs(
            experiments, f"tags.`{JOB_TAG}` = '{job}'", order_by=["start_time DESC"], max_results=1
        )
    return None if not runs or runs[0].info.status == FINISHED else str(runs[0].info.run_id)
