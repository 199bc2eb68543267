"""int8 exports: accuracy checked in years on validation faces, refused over the budget, logged where they go."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from mlflow import MlflowClient

from agedetect_export import accuracy
from agedetect_export.accuracy import check_accuracy, paired_cost
from agedetect_export.cli import main
from agedetect_export.faces import present
from agedetect_runtime import AgeEstimator, ModelError
from agedetect_runtime.spec import METADATA_KEY, ModelSpec
from export_source import SPEC, Store, draw_images
from tiny_models import age_by_hand, write_tiny_model

pytest_plugins = ["export_store"]

SOURCE = "models:/agedetect@candidate"


def export(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [SOURCE, *map(str, arguments)])


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, float]]:
    """With ages that the tiny model gives, two years less for every second one."""
    paths = draw_images(tmp_path_factory.mktemp("faces"), 40)
    estimator = AgeEstimator(write_tiny_model(paths[0].with_name("tiny.onnx")), device="cpu")
    return [(path, (estimator.predict(path).age or 0) - 2 * (index % 2)) for index, path in enumerate(paths)]


@pytest.fixture
def exact(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "exact.onnx", coverage=0.9)


def test_the_report_is_what_the_two_files_say(exact: Path, faces: list[tuple[Path, float]], tmp_path: Path) -> None:
    older = write_tiny_model(tmp_path / "older.onnx", coverage=0.9, bias=5.0)  # by four years
    report = check_accuracy(exact, older, faces, budget_years=4.5)
    assert report.passed
    assert report.images == 40
    # float32 steps near 60 years are 4e-6
    assert report.float32_mae_years == pytest.approx(1.0, abs=1e-4)
    assert report.mae_years == pytest.approx(5.0, abs=1e-4)
    assert report.cost is not None
    assert report.cost.mean_years == pytest.approx(4.0, abs=1e-4)
    assert report.differences is not None
    assert report.differences.median_years == pytest.approx(4.0, abs=1e-4)
    # half of the true ages are four years under, half are six: intervals are five years wide to each side
    assert (report.float32_coverage, report.coverage) == (1.0, 0.5)
    assert report.verdict == "passed: float32 costs 4.000 (95% interval 4.000 to 4.000) years of MAE on 40 images"


def test_over_the_budget_fails(exact: Path, faces: list[tuple[Path, float]], tmp_path: Path) -> None:
    older = write_tiny_model(tmp_path / "older.onnx", coverage=0.9, bias=1.2)
    report = check_accuracy(exact, older, faces, budget_years=0.05)
    assert not report.passed
    (failure,) = report.failures
    assert failure == (
        "it costs 0.200 (95% interval 0.200 to 0.200) years of MAE on 40 validation faces, and the upper end of that "
        "interval is over the budget of 0.05; export float32, or allow more with --mae-budget-years"
    )
    assert "FAILED" in report.to_text()


def test_the_cost_is_the_mean_change_with_1_96_standard_errors() -> None:
    cost = paired_cost(np.array([0.0, 0.0, 3.0, 1.0]))
    # mean 1, sum of squares about it 1 + 1 + 4 + 0, so a variance of 6 / 3 and a standard error of sqrt(2 / 4)
    margin = 1.96 * 0.5**0.5
    assert cost.mean_years == 1.0
    assert cost.low_years == pytest.approx(1 - margin)
    assert cost.high_years == pytest.approx(1 + margin)


@pytest.mark.parametrize(("budget", "passes"), [(0.12, False), (0.13, True)])
def test_the_upper_end_of_the_interval_counts_not_the_point(
    exact: Path, faces: list[tuple[Path, float]], tmp_path: Path, budget: float, passes: bool
) -> None:
    # 0.4 years older: of no cost on average where half of the ages are five years above and half five years below, but
    # known to 1.96 x 0.4 / sqrt(39) = 0.126 years only
    older = write_tiny_model(tmp_path / "older.onnx", coverage=0.9, bias=1.4)
    estimator = AgeEstimator(exact, device="cpu")
    either_side = [
        (path, (estimator.predict(path).age or 0) + 5 * (-1) ** index) for index, (path, _) in enumerate(faces)
    ]
    report = check_accuracy(exact, older, either_side, budget_years=budget)
    assert report.cost is not None
    assert report.cost.mean_years == pytest.approx(0.0, abs=1e-4)
    assert report.cost.high_years == pytest.approx(0.1255, abs=1e-3)
    assert report.passed is passes
    assert [reason.startswith("it costs ") for reason in report.failures] == [True] * (not passes)


def test_a_better_file_costs_less_than_nothing(exact: Path, faces: list[tuple[Path, float]], tmp_path: Path) -> None:
    report = check_accuracy(
        write_tiny_model(tmp_path / "off.onnx", coverage=0.9, bias=3.0), exact, faces, budget_years=0
    )
    assert report.passed
    assert report.cost is not None
    assert report.cost.mean_years == pytest.approx(-2.0, abs=1e-4)


def test_answers_that_are_no_numbers_fail(exact: Path, faces: list[tuple[Path, float]], tmp_path: Path) -> None:
    nothing = write_tiny_model(tmp_path / "nan.onnx", coverage=0.9, bias=float("nan"))
    report = check_accuracy(exact, nothing, faces, budget_years=0.05)
    assert report.failures[0] == "40 of 40 predictions are not finite numbers"
    assert (report.mae_years, report.cost, report.differences) == (None, None, None)
    json.dumps(dataclasses.asdict(report), allow_nan=False)


def test_few_or_unreadable_faces_are_no_proof(exact: Path, faces: list[tuple[Path, float]], tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    report = check_accuracy(exact, exact, [*faces[:7], (tmp_path / "broken.png", 30.0)], budget_years=0.05)
    assert report.unreadable == 1
    assert report.failures == ("only 7 validation faces could be read, at least 8 are needed",)


def test_faces_that_are_elsewhere_are_never_replaced(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none of the source run's 1 training images is on this machine, .*gone\.png"):
        present([(tmp_path / "gone.png", 30.0)], "training", "go where they are")


def test_a_few_of_the_validation_faces_are_too_few(faces: list[tuple[Path, float]], tmp_path: Path) -> None:
    listed = [*faces, *[(tmp_path / f"gone{index}.png", 30.0) for index in range(10)]]
    assert present(listed, "validation", "", share=0.8) == faces
    with pytest.raises(ModelError, match="only 40 of the source run's 50 validation images are on this machine"):
        present(listed, "validation", "go where they are", share=0.9)


@pytest.mark.slow
def test_int8_is_exported_checked_and_logged(store: Store, tmp_path: Path) -> None:
    output = tmp_path / "small.onnx"
    result = export("--output", output, "--precision", "int8", "--mae-budget-years", "2")
    assert result.exit_code == 0, result.stderr
    assert "calibrating int8 on 33 training images" in result.stderr
    assert "int8 against float32 on 14 validation images" in result.stdout
    (value,) = (item.value for item in onnx.load(output).metadata_props if item.key == METADATA_KEY)
    spec = ModelSpec.from_json(value)
    assert spec.precision == "int8"
    assert spec.card.startswith("# A small model")
    assert "## Precision\n\nThis file is int8." in spec.card
    assert ".png" not in value
    figures = spec.provenance["precision"]
    assert figures["budget_years"] == 2
    assert figures["calibration_faces"] == 33
    report = json.loads((tmp_path / "small.parity.json").read_text())
    assert report["passed"]
    assert report["precision"] == {key: item for key, item in figures.items() if key != "passed"}
    client = MlflowClient()
    metrics = client.get_run(store.run_id).data.metrics
    assert metrics["export/int8_mae_cost_high_years"] == figures["cost"]["high_years"]
    assert metrics["export/int8_difference_p99_years"] == figures["differences"]["p99_years"]
    assert client.get_model_version("agedetect", "1").tags["onnx_int8"].startswith("passed: int8 costs")
    assert {"export/small.onnx", "export/small.parity.json"} <= {
        item.path for item in client.list_artifacts(store.run_id, "export")
    }


@pytest.mark.slow
def test_int8_over_the_budget_leaves_no_file(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The tiny model's predictions have nothing to do with the ages, so that rounding may cost it less than nothing:
    # check it as if all ages were what the float32 file says.
    predict = accuracy._predict

    def flattering(*given: Any) -> Any:
        wanted, found, _ = predict(*given)
        return wanted, found, wanted[:, 0]

    monkeypatch.setattr(accuracy, "_predict", flattering)
    result = export("--output", tmp_path / "small.onnx", "--precision", "int8", "--mae-budget-years", "0")
    assert result.exit_code == 1
    assert re.search(r"FAILED +it costs \d\.\d+ .* years of MAE on 14 validation faces, .* budget of 0;", result.stderr)
    assert result.stderr.splitlines()[-1].startswith(f"Error: {tmp_path / 'small.onnx'} was not written: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_file_is_not_compared_with_itself_whatever_its_name(store: Store, tmp_path: Path) -> None:
    output = tmp_path / "float32.onnx"
    result = export("--output", output, "--precision", "int8", "--mae-budget-years", "2")
    assert result.exit_code == 0, result.stderr
    report = json.loads((tmp_path / "float32.parity.json").read_text())["precision"]
    assert report["differences"]["worst_years"] > 0


def test_fp16_is_no_choice(tmp_path: Path) -> None:
    result = export("--output", tmp_path / "half.onnx", "--precision", "fp16")
    assert result.exit_code == 2
    assert "'fp16' is not one of 'float32', 'int8'" in result.stderr


def test_another_size_than_the_trained_one_is_refused_with_the_reason(store: Store, tmp_path: Path) -> None:
    result = export("--output", tmp_path / "model.onnx", "--image-size", "224")
    assert result.exit_code == 2
    said = " ".join(result.stderr.split())
    assert f"agedetect version 1 was trained at {SPEC.image_size} px" in said
    assert "train with --image-size 224" in said
    assert list(tmp_path.iterdir()) == []


def test_int8_needs_the_faces_of_the_run(store: Store, tmp_path: Path) -> None:
    away = store.root / "more away"
    shutil.move(store.root / "more", away)
    kept = {path: path.with_suffix(".away") for path in sorted((store.root / "faces").iterdir())}
    kept = {path: hidden for path, hidden in kept.items() if path not in store.validation}
    for path, hidden in kept.items():
        path.rename(hidden)
    try:
        result = export("--output", tmp_path / "small.onnx", "--precision", "int8")
    finally:
        shutil.move(away, store.root / "more")
        for path, hidden in kept.items():
            hidden.rename(path)
    assert result.exit_code == 1
    assert "33 training images is on this machine" in result.stderr
    assert "converting" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_tiny_models_ages_are_those_by_hand(exact: Path) -> None:
    face = np.full((32, 32, 3), 100, np.uint8)
    assert AgeEstimator(exact, device="cpu").ages(face[None]).age[0] == pytest.approx(age_by_hand(face), abs=1e-4)
