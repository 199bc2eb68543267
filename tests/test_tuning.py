"""`--benchmark`: what it measures, and what it says to type."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from agedetect_runtime import AgeEstimator, tuning
from agedetect_runtime.cli import main
from agedetect_runtime.estimate import Estimate, Result
from agedetect_runtime.tuning import benchmark
from tiny_images import save_noise
from tiny_models import write_tiny_model


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "_SECONDS", 0.02)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "age.onnx")


@pytest.mark.parametrize("fastest", [(1, 16), (2, 8)])
def test_the_fastest_setting_is_found_and_only_a_gain_is_worth_typing(
    model: Path,
    short: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fastest: tuple[int, int],
) -> None:
    monkeypatch.setattr(tuning, "usable_cores", lambda: 2)
    with AgeEstimator(model, device="cpu", threads=2) as estimator:

        def answers(paths: Iterator[str]) -> Iterator[Result]:
            """Other threads than the fastest, or another batch size, cost a millisecond; both cost four."""
            distance = (estimator.threads != fastest[0]) + (estimator.batch_size != fastest[1])
            for path in paths:
                time.sleep(0.001 * distance**2)
                yield Estimate(path, 30.0)

        benchmark(estimator, ["a.png", "b.png"], answers)
    heading, *lines, last = capsys.readouterr().out.splitlines()
    assert heading.split() == ["threads", "batch", "size", "images/s"]
    measured = {tuple(map(int, line.split()[:2])) for line in lines}
    assert measured == {(1, 8), (2, 8), (4, 8)} | {(fastest[0], size) for size in (1, 4, 16, 32)}
    if fastest == (2, 8):
        assert last == "The defaults are as fast as anything here: type nothing more."
    else:
        assert last.startswith("Type: --threads 1 --batch-size 16    (")


def test_it_measures_the_images_that_it_is_given_and_writes_no_ages(model: Path, short: None, tmp_path: Path) -> None:
    for seed in range(3):
        save_noise(tmp_path / "faces" / f"{seed}.png", seed)
    done = CliRunner().invoke(main, [str(tmp_path / "faces"), "--onnx", str(model), "--benchmark"])
    assert (done.exit_code, done.stderr) == (0, "")
    assert all(float(line.split()[2]) > 0 for line in done.stdout.splitlines()[1:-1])
    assert "faces" not in done.stdout


def test_images_that_cannot_be_used_are_not_measured(model: Path, short: None) -> None:
    done = CliRunner().invoke(main, ["none.png", "--onnx", str(model), "--benchmark"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: none.png: no such file; check the path")
    refused = CliRunner().invoke(main, ["none.png", "--onnx", str(model), "--benchmark", "--output", "a.csv"])
    assert (refused.exit_code, "it writes no ages" in refused.stderr) == (2, True)
