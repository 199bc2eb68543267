"""Parity passes what is right and fails each mistake that it is there for, all through real ONNX files."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from agedetect_export.convert import convert, write_spec
from agedetect_export.parity import compare
from agedetect_export.report import PROBABILITY_TOLERANCE, TOLERANCE_YEARS
from agedetect_runtime import AgeEstimator
from agedetect_runtime.images import load_face
from export_source import SIZE, SPEC, BatchAges, DistributionAges, IntervalAges, TinyAges, draw_images


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return draw_images(tmp_path_factory.mktemp("faces"), 16)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "tiny.onnx"
    convert(TinyAges(), SPEC, path)
    return path


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(exported, tmp_path / "copy.onnx"))


def change_bias(path: Path, years: float) -> None:
    """Move every age in the file by `years`; the head's output is scaled by 60."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name == "head.bias":
            moved = numpy_helper.to_array(tensor) + np.float32(years / 60)
            tensor.CopyFrom(numpy_helper.from_array(moved.astype(np.float32), tensor.name))
            onnx.save(model, path)
            return
    raise AssertionError("the exported graph has no head.bias")


class Older(TinyAges):
    """One face, that in the file `path`, is three years older."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.face = torch.from_numpy(load_face(path, SIZE, SPEC.resampling))

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return super().forward(faces) + 3.0 * (faces == self.face).all(dim=3).all(dim=2).all(dim=1)


def test_a_faithful_export_passes_far_below_the_tolerance(exported: Path, faces: list[Path]) -> None:
    report = compare(TinyAges(), SPEC, exported, faces)
    assert report.passed
    assert report.failures == ()
    assert report.images == report.distinct == 16
    assert report.worst_years is not None
    assert report.worst_years < TOLERANCE_YEARS / 10
    assert [batch.batch_size for batch in report.batches] == [1, 2, 7]
    assert report.reference is not None
    assert report.reference.std_years > 1


def test_the_reported_spread_is_that_of_the_torch_ages(exported: Path, faces: list[Path]) -> None:
    report = compare(TinyAges(), SPEC, exported, faces)
    batch = np.stack([load_face(path, SIZE, "bilinear") for path in faces])
    with torch.inference_mode():
        ages = TinyAges()(torch.from_numpy(batch)).numpy().astype(np.float64)
    assert report.reference is not None
    # float32 sums over a batch and over one image differ in the last digits only
    assert report.reference.mean_years == pytest.approx(ages.mean(), abs=1e-4)
    assert report.reference.std_years == pytest.approx(ages.std(), abs=1e-4)
    assert report.reference.lowest_years == pytest.approx(ages.min(), abs=1e-4)
    assert report.reference.highest_years == pytest.approx(ages.max(), abs=1e-4)


@pytest.mark.parametrize("program", [TinyAges(swapped=True), TinyAges(mean=0.40)], ids=["BGR", "mean"])
def test_a_file_made_with_other_preprocessing_fails(program: TinyAges, faces: list[Path], tmp_path: Path) -> None:
    convert(program, SPEC, tmp_path / "wrong.onnx")
    report = compare(TinyAges(), SPEC, tmp_path / "wrong.onnx", faces)
    assert len([line for line in report.failures if "differ by more than 0.001 years" in line]) == 3
    assert report.worst_years is not None
    assert report.worst_years > 0.1


def test_bicubic_for_bilinear_in_the_file_fails(copy: Path, faces: list[Path]) -> None:
    write_spec(copy, replace(SPEC, resampling="bicubic"))
    report = compare(TinyAges(), SPEC, copy, faces)
    assert not report.passed
    assert report.worst_years is not None
    assert report.worst_years > 10 * TOLERANCE_YEARS


def test_the_tolerance_is_where_it_says(copy: Path, faces: list[Path]) -> None:
    change_bias(copy, 2 * TOLERANCE_YEARS)
    assert not compare(TinyAges(), SPEC, copy, faces).passed
    assert compare(TinyAges(), SPEC, copy, faces, tolerance_years=3 * TOLERANCE_YEARS).passed


def test_a_shift_is_reported_in_years(copy: Path, faces: list[Path]) -> None:
    change_bias(copy, 0.5)
    report = compare(TinyAges(), SPEC, copy, faces)
    # the shift passes through float32 ages near 40, whose steps are 4e-6
    assert report.worst_years == pytest.approx(0.5, abs=1e-4)
    assert report.mean_years == pytest.approx(0.5, abs=1e-4)


def test_the_one_image_that_differs_is_named(exported: Path, faces: list[Path]) -> None:
    report = compare(Older(faces[11]), SPEC, exported, faces)
    assert report.worst_image == "11.png"
    assert report.worst_years == pytest.approx(3, abs=1e-3)
    assert all("1 of 16 images" in line and "(11.png)" in line for line in report.failures)
    assert len(report.failures) == 3


def test_an_answer_that_depends_on_the_batch_fails_where_there_is_one(faces: list[Path], tmp_path: Path) -> None:
    convert(BatchAges(), SPEC, tmp_path / "batch.onnx")
    report = compare(BatchAges(), SPEC, tmp_path / "batch.onnx", faces)
    assert [line.partition(":")[0] for line in report.failures] == ["batches of 2", "batches of 7"]


def test_a_constant_network_fails_since_nothing_was_compared(faces: list[Path], tmp_path: Path) -> None:
    convert(TinyAges(constant=True), SPEC, tmp_path / "constant.onnx")
    report = compare(TinyAges(constant=True), SPEC, tmp_path / "constant.onnx", faces)
    assert report.worst_years == 0
    assert len(report.failures) == 1
    assert report.failures[0].startswith("nothing was compared")


def test_nan_on_both_sides_is_no_agreement(copy: Path, faces: list[Path]) -> None:
    program = TinyAges()
    with torch.no_grad():
        program.head.bias.fill_(float("nan"))
    change_bias(copy, float("nan"))
    report = compare(program, SPEC, copy, faces)
    assert any("the torch program gave NaN or infinity for 16 images" in line for line in report.failures)
    assert any("16 images got no age" in line for line in report.failures)
    assert report.worst_years is None
    assert json.loads(report.to_json())["worst_years"] is None


def test_infinity_on_one_side_fails(exported: Path, faces: list[Path]) -> None:
    class Infinite(TinyAges):
        def forward(self, faces: torch.Tensor) -> torch.Tensor:
            years = super().forward(faces)
            return torch.where(years > 45, torch.full_like(years, torch.inf), years)

    report = compare(Infinite(), SPEC, exported, faces)
    assert len(report.failures) == 1
    assert "the torch program gave NaN or infinity" in report.failures[0]


def test_an_unreadable_image_is_reported_and_left_out(exported: Path, faces: list[Path], tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(faces[0].read_bytes()[:200])
    report = compare(TinyAges(), SPEC, exported, [*faces[:9], tmp_path / "broken.png", tmp_path / "gone.png"])
    assert report.passed
    assert report.images == 9
    assert [line.partition(":")[0] for line in report.unreadable] == ["broken.png", "gone.png"]


def test_copies_of_one_image_are_not_many_images(exported: Path, faces: list[Path], tmp_path: Path) -> None:
    duplicates = [Path(shutil.copy(faces[0], tmp_path / f"{index}.png")) for index in range(12)]
    report = compare(TinyAges(), SPEC, exported, duplicates)
    assert report.images == 12
    assert report.distinct == 1
    assert "only 1 distinct readable images" in report.failures[0]


def test_every_failure_is_collected(copy: Path, faces: list[Path]) -> None:
    change_bias(copy, 1.0)
    program = TinyAges(constant=True)
    report = compare(program, SPEC, copy, faces[:3])
    for reason in (
        "only 3 distinct",
        "nothing was compared",
        "batches of 1:",
        "batches of 2:",
        "batches of 7:",
    ):
        assert any(reason in line for line in report.failures), reason


def test_no_images_at_all_fails(exported: Path) -> None:
    report = compare(TinyAges(), SPEC, exported, [])
    assert not report.passed
    assert report.worst_years is None
    assert "0 images" in report.to_text()


def test_bounds_are_compared_too(faces: list[Path], tmp_path: Path) -> None:
    spec = replace(SPEC, coverage=0.9)
    convert(IntervalAges(), spec, tmp_path / "interval.onnx")
    estimate = AgeEstimator(tmp_path / "interval.onnx", device="cpu").predict(faces[0])
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.age is not None
    assert estimate.low < estimate.age < estimate.high

    class Wider(IntervalAges):
        def forward(self, faces: torch.Tensor) -> tuple[torch.Tensor, ...]:  # type: ignore[override]
            age, low, high = super().forward(faces)
            return age, low, high + 0.25

    assert compare(IntervalAges(), spec, tmp_path / "interval.onnx", faces).passed
    report = compare(Wider(), spec, tmp_path / "interval.onnx", faces)
    assert report.worst_years == pytest.approx(0.25, abs=1e-4)


def test_probabilities_are_compared_on_a_tolerance_of_their_own(faces: list[Path], tmp_path: Path) -> None:
    spec = replace(SPEC, coverage=0.9, head="distribution")
    convert(DistributionAges(), spec, tmp_path / "bins.onnx")
    report = compare(DistributionAges(), spec, tmp_path / "bins.onnx", faces)
    assert report.passed
    assert report.worst_probability is not None
    assert report.worst_probability < PROBABILITY_TOLERANCE / 10
    assert "worst probability" in report.to_text()
    # every column one year off, and all ages right: only the probabilities can tell
    report = compare(DistributionAges(shifted_bins=1), spec, tmp_path / "bins.onnx", faces)
    assert report.worst_years is not None
    assert report.worst_years < TOLERANCE_YEARS
    assert len([line for line in report.failures if "probabilities differ by up to" in line]) == 3


def test_an_age_outside_of_its_interval_fails_on_both_sides(faces: list[Path], tmp_path: Path) -> None:
    spec = replace(SPEC, coverage=0.9, head="distribution")
    convert(DistributionAges(crossed=True), spec, tmp_path / "crossed.onnx")
    report = compare(DistributionAges(crossed=True), spec, tmp_path / "crossed.onnx", faces)
    assert len(report.failures) == 3
    assert all("low <= age <= high is broken for 16 images, first 00.png" in line for line in report.failures)


def test_a_name_that_is_no_text_is_shown_and_written_escaped(exported: Path, faces: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / os.fsdecode(b"\xff\x1b[2J.png")
    broken.write_bytes(b"no image")
    report = compare(TinyAges(), SPEC, exported, [*faces, broken])
    assert "\\udcff\\x1b[2J.png" in report.to_text()
    (tmp_path / "report.json").write_text(report.to_json(), encoding="utf-8")
    assert json.loads((tmp_path / "report.json").read_text())["unreadable"][0].startswith(broken.name)


def test_the_report_reads_well_and_its_summary_names_no_image(exported: Path, faces: list[Path]) -> None:
    report = compare(Older(faces[4]), SPEC, exported, faces)
    text = report.to_text()
    assert "batches of 7" in text
    assert "04.png" in text
    assert "FAILED" in text
    assert json.loads(report.to_json())["worst_image"] == "04.png"
    assert ".png" not in json.dumps(report.summary())
    assert report.summary()["batches"][2]["batch_size"] == 7
