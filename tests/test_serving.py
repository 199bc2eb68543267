"""Real servers over HTTP: `mlflow models serve` of the registered export, and the example that one writes oneself."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from agedetect_runtime import AgeEstimator
from benchmarks.servers import fastapi_command, free_port, mlflow_command, serving
from conftest import ROOT
from export_source import Store
from export_store import tracking
from registered_pictures import URI, own_store, register_pictures, write_licensed_model

pytestmark = pytest.mark.slow

JSON = "application/json"


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return own_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_licensed_model(tmp_path_factory.mktemp("exported") / "age.onnx")


@pytest.fixture(scope="module")
def scoring(logged: Store, file: Path) -> Iterator[str]:
    """The address of `mlflow models serve -m models:/agedetect-onnx@champion`."""
    with tracking(logged.uri):
        register_pictures(file)
    port = free_port()
    with serving(mlflow_command(URI, port), port, "/ping", {"MLFLOW_TRACKING_URI": logged.uri}):
        yield f"http://127.0.0.1:{port}/invocations"


@pytest.fixture(scope="module")
def service(file: Path) -> Iterator[str]:
    """The address of examples/fastapi_service.py."""
    port = free_port()
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with serving(fastapi_command(port), port, "/health", {"AGEDETECT_MODEL": str(file), "PYTHONPATH": paths}):
        yield f"http://127.0.0.1:{port}/age"


def post(url: str, body: bytes, kind: str) -> tuple[int, Any]:
    request = urllib.request.Request(url, data=body, headers={"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, error.read().decode()


def question(*images: object, **params: object) -> bytes:
    return json.dumps(
        {"dataframe_split": {"columns": ["image"], "data": [[i] for i in images]}, "params": params}
    ).encode()


def in_base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_a_picture_in_base64_gets_its_age(scoring: str, file: Path, logged: Store) -> None:
    paths = logged.validation[:3]
    wanted = [AgeEstimator(file, device="cpu").predict(path) for path in paths]
    status, answer = post(scoring, question(*map(in_base64, paths)), JSON)
    assert status == 200
    assert answer["predictions"] == [
        {"age": round(one.age, 3), "low": round(one.low or 0, 3), "high": round(one.high or 0, 3), "error": None}
        for one in wanted
    ]
    records = {"dataframe_records": [{"image": in_base64(paths[0])}], "params": {"at_least": 18}}
    _, answer = post(scoring, json.dumps(records).encode(), JSON)
    assert 0 <= answer["predictions"][0]["at_least_18"] <= 1
    _, answer = post(scoring, json.dumps({"inputs": {"image": [in_base64(path) for path in paths]}}).encode(), JSON)
    assert [row["age"] for row in answer["predictions"]] == [round(one.age, 3) for one in wanted]


def test_the_command_of_the_docs(scoring: str, logged: Store, tmp_path: Path) -> None:
    (command,) = re.findall(r"(?m)^ {4}\(printf .*\n.*invocations$", (ROOT / "docs" / "serving.md").read_text())
    (tmp_path / "face.jpg").write_bytes(logged.validation[0].read_bytes())
    here = command.replace("http://127.0.0.1:5000/invocations", scoring)
    done = subprocess.run(["sh", "-c", here], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["predictions"][0]["age"] > 0


@pytest.mark.parametrize(
    ("body", "kind", "status", "reason"),
    [
        (b"\xff\xd8\xff\xe0 a picture as it is", JSON, 400, "valid JSON"),
        (b"\xff\xd8\xff\xe0 a picture as it is", "image/jpeg", 415, "only supports the following content types"),
        (b"{}", JSON, 400, "exactly one of the input fields"),
        (b'{"dataframe_split": {"columns": ["face"], "data": [["x"]]}}', JSON, 400, "missing inputs ['image']"),
        (question("x", at_least="eighteen"), JSON, 400, "at_least"),
        (question("x", at_least=150), JSON, 400, "ages from 0 to 116 only"),
    ],
)
def test_a_wrong_request_gets_its_reason_and_the_server_lives_on(
    scoring: str, logged: Store, body: bytes, kind: str, status: int, reason: str
) -> None:
    found, answer = post(scoring, body, kind)
    assert (found, reason in answer) == (status, True), answer
    assert post(scoring, question(in_base64(logged.validation[0])), JSON)[0] == 200


def test_a_bad_picture_among_good_ones_is_a_row(scoring: str, logged: Store) -> None:
    good = in_base64(logged.validation[0])
    status, answer = post(scoring, question(good, good[:200], good[:201], None, 34, "nowhere.jpg"), JSON)
    assert status == 200
    assert [row["error"] for row in answer["predictions"]] == [
        None,
        "truncated",
        "damaged base64",
        "no image: an empty cell",
        "not an image: a value of type int",
        "no such file",
    ]


def test_the_hand_written_service_gives_the_same_age_and_refuses_what_is_no_image(
    service: str, file: Path, logged: Store
) -> None:
    path = logged.validation[0]
    wanted = AgeEstimator(file, device="cpu").predict(path)
    sent = post(service, path.read_bytes(), "image/png")
    assert sent == (200, {"age": wanted.age, "low": wanted.low, "high": wanted.high})
    assert post(service, b"no image", "image/png") == (400, '{"detail":"not an image"}')
    assert post(service, b"", "image/png") == (400, '{"detail":"empty file"}')
