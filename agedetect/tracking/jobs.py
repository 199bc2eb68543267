"""The runs of torchrun's jobs: a job that torchrun restarts goes on with the run that it began."""

from __future__ import annotations

from mlflow import MlflowClient

from agedetect.tracking.checkpoints import STATES
from agedetect.tracking.store import FINISHED

_TAG = "torchrun.job"


def mark_job(run_id: str, job: str) -> None:
    MlflowClient().set_tag(run_id, _TAG, job)


def stopped_run_of(job: str) -> str | None:
    """The last run of the job, if it finished an epoch, but isn't finished itself."""
    client = MlflowClient()
    experiments = [found.experiment_id for found in client.search_experiments()]
    runs = client.search_runs(experiments, f"tags.`{_TAG}` = '{job}'", order_by=["start_time DESC"], max_results=1)
    if not runs or runs[0].info.status == FINISHED:
        return None
    run_id = str(runs[0].info.run_id)
    return run_id if any(item.path in STATES for item in client.list_artifacts(run_id, "checkpoint")) else None
