"""The registered export, served from its folder alone in an environment that MLflow builds for it."""

from __future__ import annotations

import base64
import json
import shutil
import urllib.request
from pathlib import Path

import mlflow
import pytest

from agedetect_runtime import AgeEstimator
from benchmarks.servers import free_port, mlflow_command, serving
from export_store import tracking
from registered_pictures import URI, own_store, register_pictures, write_licensed_model

pytestmark = pytest.mark.external


def test_a_fresh_environment_serves_the_same_age(tmp_path: Path) -> None:
    if shutil.which("uv") is None:
        pytest.fail('uv is missing: pip install -c constraints.txt -e ".[external]"')
    file, logged = write_licensed_model(tmp_path / "age.onnx"), own_store(tmp_path)
    with tracking(logged.uri):
        register_pictures(file)
        folder = mlflow.artifacts.download_artifacts(URI, dst_path=str(tmp_path / "model"))
    environments, port = tmp_path / "environments", free_port()
    settings = {"MLFLOW_ENV_ROOT": str(environments), "PYTHONPATH": "", "MLFLOW_TRACKING_URI": ""}
    with serving(mlflow_command(folder, port, "uv"), port, "/ping", settings):
        picture = logged.validation[0]
        cells = [[base64.b64encode(picture.read_bytes()).decode()]]
        body = json.dumps({"dataframe_split": {"columns": ["image"], "data": cells}}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            (row,) = json.load(answer)["predictions"]
    assert row["age"] == round(AgeEstimator(file, device="cpu").predict(picture).age, 3)
    installed = {path.name for path in environments.rglob("site-packages/*")}
    assert "onnxruntime" in installed
    assert not installed & {"torch", "agedetect", "agedetect_runtime", "sklearn", "scipy"}
