"""Two nodes, each a network of its own on this machine, train together; the process of one is killed.

Needs Linux, `ip` (iproute2) and the right to make network namespaces.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from conftest import SMALL_RUN, command_environment, options
from training_runs import client_of, only_run

pytestmark = [pytest.mark.external, pytest.mark.slow]

NODES = {"agedetect-a": ("agedetect0", "10.77.0.1"), "agedetect-b": ("agedetect1", "10.77.0.2")}
SETTINGS = {**SMALL_RUN, "head_epochs": 0, "epochs": 3}


def ip(*words: str) -> str:
    try:
        return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        pytest.fail("two nodes need ip: apt-get install iproute2")
    except subprocess.CalledProcessError as error:
        pytest.fail(f"ip {' '.join(words)}: {error.stderr.strip()}: network namespaces need root")


def remove(name: str) -> None:
    """A namespace and the processes in it, if it is there."""
    found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
    for pid in found.stdout.split():
        os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.fixture
def nodes() -> Iterator[None]:
    """Two network namespaces, joined by a cable (veth), so that only their addresses reach each other."""
    with ExitStack() as cleanup:
        for name in NODES:
            remove(name)  # what a killed test left
            ip("netns", "add", name)
            cleanup.callback(remove, name)
        (first, (one, _)), (second, (other, _)) = NODES.items()
        ip("link", "add", one, "netns", first, "type", "veth", "peer", "name", other, "netns", second)
        for name, (device, address) in NODES.items():
            ip("-n", name, "addr", "add", f"{address}/24", "dev", device)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", device, "up")
        yield


def start(name: str, folder: Path, faces: Path) -> subprocess.Popen[str]:
    device, address = NODES[name]
    torchrun = [
        *("--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "3"),
        *("--rdzv-backend", "c10d", "--rdzv-id", "nodes", "--rdzv-endpoint", "10.77.0.1:29400"),
        *("--rdzv-conf", f"is_host={address == '10.77.0.1'}", "--local-addr", address),
    ]
    train = ["-m", "agedetect", "train", "--data-dir", str(faces), *options(SETTINGS)]
    return subprocess.Popen(
        ["ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run", *torchrun, *train],
        cwd=folder,
        env=command_environment(folder, GLOO_SOCKET_IFNAME=device, PYTHONPATH=":".join(sys.path)),
        stdout=subprocess.DEVNULL,
        stderr=(folder / f"{name}.log").open("w"),
        text=True,
    )


def worker(name: str) -> int:
    """The training process of a node, which torchrun started."""
    for pid in ip("netns", "pids", name).split():
        words = Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
        if b"agedetect" in words and b"torch.distributed.run" not in words:
            return int(pid)
    raise AssertionError(f"{name}: no training process")


def wait_for(line: str, log: Path) -> None:
    end = time.monotonic() + 300
    while line not in log.read_text():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)


def ended(process: subprocess.Popen[str], folder: Path) -> int:
    try:
        return process.wait(400)
    except subprocess.TimeoutExpired:
        pytest.fail("\n".join((folder / f"{name}.log").read_text() for name in NODES))


def test_a_killed_process_is_begun_again_and_the_run_goes_on(nodes: None, drawn_faces: Path, tmp_path: Path) -> None:
    first, second = (start(name, tmp_path, drawn_faces) for name in NODES)
    log = tmp_path / "agedetect-a.log"
    wait_for("epoch 1 ", log)
    os.kill(worker("agedetect-b"), signal.SIGKILL)
    assert (ended(first, tmp_path), ended(second, tmp_path)) == (0, 0), log.read_text()

    text = log.read_text()
    assert "Error: another process of this training was lost" in text
    assert "Error" not in (tmp_path / "agedetect-b.log").read_text()  # found at once by those that were begun again
    assert "Traceback" not in text
    assert len(set(re.findall(r"^run (\w+) on", text, re.MULTILINE))) == 1
    run = only_run(tmp_path)
    assert run.info.status == "FINISHED"
    history = client_of(tmp_path).get_metric_history(run.info.run_id, "validation/mae")
    assert {item.step for item in history} == {1, 2, 3}
    (version,) = client_of(tmp_path).search_model_versions("name = 'agedetect'")
    assert version.run_id == run.info.run_id
