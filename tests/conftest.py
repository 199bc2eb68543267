"""What several tests need: drawn faces, and one small training run in an MLflow store of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent

# The smallest run that has both phases: 32 px, from scratch, seconds on one core.
SMALL_RUN = {
    "model_name": "mobilenet_v2",
    "weights": "none",
    "image_size": 32,
    "batch_size": 16,
    "epochs": 4,
    "head_epochs": 2,
    "finetune_learning_rate": 1e-5,  # small steps, so that rounding does not grow: the processes are compared
    "warmup_epochs": 1,  # and smaller ones first
    "workers": 0,
    "device": "cpu",
    "precision": "float32",
}

CallIn = Callable[..., Result]


@pytest.fixture(scope="session", autouse=True)
def _no_run_is_kept_at_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGEDETECT_RUNS", str(tmp_path_factory.mktemp("runs")))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: one that began last would keep one process waiting for the other."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the whole session: pytest-xdist gives each of its processes a base folder below one."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def made_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """`folder`, made by the first process that wants it, for which the others wait."""
    with FileLock(f"{folder}.lock"):
        done = folder.with_name(f"{folder.name}.done")
        if not done.exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def drawn_faces(shared: Path) -> Path:
    """A folder of 160 drawn faces in UTKFace's layout."""
    from agedetect.synthetic.faces import draw_faces

    return made_once(shared / "faces", lambda folder: draw_faces(folder, 160, seed=1))


def command_environment(folder: Path, **extra: str) -> dict[str, str]:
    """The environment of a command that keeps its MLflow store in `folder`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    store = f"sqlite:///{folder / 'mlflow.db'}"
    fixed = {
        "MLFLOW_TRACKING_URI": store,
        "AGEDETECT_RUNS": str(folder / "runs"),
        "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "1",
        "OMP_NUM_THREADS": "1",
    }
    return {**kept, **fixed, **extra}


def options(values: dict[str, object]) -> list[str]:
    """{"image_size": 32} -> ["--image-size", "32"]."""
    return [part for name, value in values.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def run_command(
    command: Sequence[str | Path], folder: Path, *, timeout: float = 550, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Runs in `folder`; the caller looks at the exit status."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=command_environment(folder, **extra),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def listen_to_ctrl_c() -> None:
    """For Popen's preexec_fn: a background job of a shell ignores Ctrl-C, and so do the processes that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def program(name: str) -> Path:
    """The console script `name` of the environment that the tests run in."""
    return Path(sys.executable).with_name(name)


@pytest.fixture
def call_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[CallIn]:
    """`agedetect` in this process, `call_in(folder, "train", ...)`: seconds less than a process where it is refused."""
    from agedetect.cli import main

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}  # which training takes

    def call(folder: Path, *arguments: str | Path) -> Result:
        monkeypatch.chdir(folder)
        return CliRunner(env=command_environment(folder)).invoke(main, [str(part) for part in arguments])

    yield call
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def small_run(drawn_faces: Path, shared: Path) -> Path:
    """The folder of one finished `agedetect train`, its MLflow store inside."""

    def train(folder: Path) -> None:
        done = run_command([program("agedetect"), "train", "--data-dir", drawn_faces, *options(SMALL_RUN)], folder)
        assert done.returncode == 0, done.stderr
        (folder / "stderr.txt").write_text(done.stderr)
        (folder / "stdout.txt").write_text(done.stdout)

    return made_once(shared / "run", train)
