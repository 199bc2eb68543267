"""The benchmarks run, on a handful of images, and their tables hold figures that fit each other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks import choices, end_to_end, first_result, memory, near_duplicates
from benchmarks.__main__ import main
from tiny_images import save_noise
from tiny_models import write_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "age.onnx")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("faces")
    return [str(save_noise(folder / f"{seed}.jpg", seed, (40, 40))) for seed in range(24)]


def cells(report: str) -> dict[str, list[str]]:
    """The rows of Markdown tables, by their first cell."""
    lines = [line.strip("|").split("|") for line in report.splitlines() if line.startswith("| ")]
    return {
        first.strip(): [cell.strip() for cell in rest] for first, *rest in lines if first.strip() not in ("", "---")
    }


def test_the_end_to_end_table_divides_the_rates_it_shows(model: Path, paths: list[str]) -> None:
    rows = cells(end_to_end.report(model, paths, rounds=2))
    ages = float(rows["files to ages"][0])
    rate, share = rows["decoding alone, all cores"]
    assert float(share.rstrip("%")) == pytest.approx(100 * ages / float(rate), abs=1)  # both are rounded
    both = float(rows["decoding and session on the same cores"][0])
    assert both < min(float(rate), float(rows["session, a run on each core"][0]))


def test_the_first_result_is_split_into_steps_that_add_up(model: Path, paths: list[str]) -> None:
    rows = cells(first_result.report(model, paths[0], times=1))
    *parts, total, command = [float(milliseconds) for step, (milliseconds,) in rows.items() if step != "step"]
    assert sum(parts) == pytest.approx(total, abs=4)  # five roundings to a millisecond
    assert command > 0


def test_the_choices_are_measured_too(model: Path, paths: list[str]) -> None:
    rows = cells(choices.report(model, paths, rounds=1))
    assert {"batches of 8", "one thread"} < rows.keys()


def test_the_memory_of_a_process_is_its_own(model: Path) -> None:
    rows = cells(memory.report(model, 60))
    assert [float(row[0]) for name, row in rows.items() if name.startswith("a ")] == pytest.approx([75] * 3, rel=0.5)
    assert {"a list of 30 paths", "a list of 60 paths", "a folder of 60 hard links"} <= rows.keys()


def test_the_command_knows_its_parts() -> None:
    told = CliRunner().invoke(main, ["--help"])
    assert told.exit_code == 0
    assert "chips" in told.stdout
    assert CliRunner().invoke(main, ["--part", "none"]).exit_code == 2


def test_the_near_duplicates_that_were_planted_are_counted(drawn_faces: Path, tmp_path: Path) -> None:
    for path in sorted(drawn_faces.iterdir()):
        shutil.copy(path, tmp_path)
        with Image.open(path) as image:
            image.save(tmp_path / path.name.replace("_2017", "_2018"), quality=70)
    result = CliRunner().invoke(near_duplicates.main, [str(tmp_path)], catch_exceptions=False)
    rows = cells(result.output)
    pairs, alike = map(int, rows["0.93"])
    assert pairs == 160
    assert 150 <= alike <= 160  # fine hair and noise of a drawn face may lose more than a hundredth to JPEG
    assert "160 photographs in 320 files of different pixels; the labels of 0 differ" in result.output
    assert rows["holdout 0"][4:] == ["0", "0", "0"]
    assert int(rows["holdout 0"][0]) > 0
