"""Photos of several faces: `AgeEstimator.find` and `agedetect-infer --find-faces`, on a detector of red squares."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import pickle
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from agedetect_runtime import (
    AgedetectError,
    AgeEstimator,
    Estimate,
    Failure,
    Finding,
    FoundFace,
    ImageError,
    ModelError,
    detectorfile,
)
from agedetect_runtime.cli import main
from agedetect_runtime.detection import FaceBox
from agedetect_runtime.download import KnownFile
from agedetect_runtime.pipeline import batches_ahead
from agedetect_runtime.report import report_to
from tiny_detector import draw, write_tiny_detector
from tiny_models import write_tiny_model

# A chip is the face's box, red in its middle quarter: 1 + 0.2 x 255 / 4 years, give or take what interpolating moves.
RED_YEARS = 1 + 0.2 * 255 / 4
TOLERANCE_YEARS = 0.4  # the square's edge is half a pixel wide in a chip of 32 pixels: three hundredths of its area
BLUE_YEARS = RED_YEARS + 0.05 * 255 * 3 / 4  # on blue
SMALL_AND_LARGE = [(320, 32, 16), (32, 32, 32)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "age.onnx", coverage=0.9)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_detector(tmp_path_factory.mktemp("detector") / "tiny.onnx")


@pytest.fixture
def estimator(model: Path, detector: Path) -> Iterator[AgeEstimator]:
    with AgeEstimator(model, device="cpu", threads=2, batch_size=3, detector=detector) as opened:
        yield opened


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two faces, none, one, a bad image, three."""
    folder = tmp_path / "photos"
    folder.mkdir()
    draw((480, 320), SMALL_AND_LARGE).save(folder / "a.png")
    draw((480, 320), []).save(folder / "b.png")
    draw((480, 320), [(64, 64, 16)], background="blue").save(folder / "c.png")
    (folder / "d.png").write_bytes(b"")
    draw((480, 320), [(32, 32, 8), (96, 32, 8), (160, 32, 8)]).save(folder / "e.png")
    return folder


# In Python


def test_each_face_has_its_place_and_its_age_the_largest_first(estimator: AgeEstimator) -> None:
    large, small = estimator.find(draw((480, 320), SMALL_AND_LARGE))
    assert large.box == pytest.approx((16, 16, 64, 64), abs=1e-3)
    assert small.box == pytest.approx((312, 24, 32, 32), abs=1e-3)
    assert (large.landmarks.shape, round(large.score, 3)) == ((5, 2), 1.0)
    for face in (large, small):
        assert face.estimate.age == pytest.approx(RED_YEARS, abs=TOLERANCE_YEARS)
        assert face.estimate.age is not None
        assert face.estimate.low == pytest.approx(face.estimate.age - 5)
    assert repr(small).startswith("FoundFace(32 x 32 at (312, 24), score=1.00, Estimate(<RGB image, 480 x 320>, age=")


def test_a_photo_without_a_face_gives_none_and_a_bad_one_raises(estimator: AgeEstimator) -> None:
    assert estimator.find(draw((480, 320), [])) == []
    with pytest.raises(ImageError, match=r"^empty file$"):
        estimator.find(b"")


def test_the_largest_alone(estimator: AgeEstimator) -> None:
    (face,) = estimator.find(draw((480, 320), SMALL_AND_LARGE), largest=True)
    assert face.box.width == pytest.approx(64)


def test_fifty_faces_go_through_the_model_in_its_batches(
    estimator: AgeEstimator, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    session = estimator._model.here().session
    run = session._run

    def counted(names: list[str], faces: NDArray[np.uint8]) -> list[Any]:
        sizes.append(len(faces))
        found: list[Any] = run(names, faces)
        return found

    monkeypatch.setitem(session.__dict__, "_run", counted)
    photo = draw((640, 480), [(32 + 48 * column, 32 + 48 * row, 8) for column in range(10) for row in range(5)])
    (finding,) = estimator.find_many([photo])
    assert len(finding.faces) == 50
    assert sizes == [3] * 16 + [2]


def test_many_photos_come_in_order_each_with_its_faces_or_its_reason(estimator: AgeEstimator, photos: Path) -> None:
    paths = sorted(photos.iterdir())
    findings = list(estimator.find_many(paths))
    assert [finding.source for finding in findings] == paths
    assert [len(finding.faces) for finding in findings] == [2, 0, 1, 0, 3]
    assert [finding.error for finding in findings] == [None, "no face found", None, "empty file", None]
    (blue,) = findings[2].faces
    assert blue.estimate.age == pytest.approx(BLUE_YEARS, abs=TOLERANCE_YEARS)
    assert blue.estimate.source == paths[2]
    assert repr(findings[4]) == f"Finding({paths[4]!r}, 3 faces)"
    assert repr(findings[1]) == f"Finding({paths[1]!r}, error='no face found')"


def test_photos_are_taken_only_so_far_ahead(estimator: AgeEstimator) -> None:
    taken = 0

    def endless() -> Iterator[Image.Image]:
        nonlocal taken
        while True:
            taken += 1
            yield draw((64, 64), [(16, 16, 8)])

    findings = estimator.find_many(endless())
    assert taken == 0
    for count in range(1, 40):
        next(findings)
        assert count <= taken < count + batches_ahead(estimator.threads) * estimator.batch_size
    findings.close()


def test_a_face_whose_age_is_no_number_is_an_error(tmp_path: Path, detector: Path) -> None:
    model = write_tiny_model(tmp_path / "age.onnx", black_is_nan=True, channel_years=(0, 0, 0.1))
    estimator = AgeEstimator(model, device="cpu", detector=detector)  # without blue, 0/0
    with pytest.raises(ModelError, match="not a number: nan"):
        estimator.find(draw((480, 320), SMALL_AND_LARGE))
    (finding,) = estimator.find_many([draw((480, 320), SMALL_AND_LARGE)])
    assert [face.estimate.error for face in finding.faces] == ["the model's answer is not a number: nan"] * 2


def test_one_photo_is_no_iterable_of_photos_and_probabilities_need_a_distribution(estimator: AgeEstimator) -> None:
    with pytest.raises(
        TypeError, match=r"^find_many takes an iterable of sources, and 'a.jpg' is one source; call find"
    ):
        estimator.find_many("a.jpg")
    for call in (
        lambda: estimator.find("a.jpg", probabilities=True),
        lambda: estimator.find_many([], probabilities=True),
    ):
        with pytest.raises(ModelError, match="gives no probabilities"):
            call()


def test_many_threads_share_one_estimator(estimator: AgeEstimator) -> None:
    photo = draw((480, 320), SMALL_AND_LARGE)
    expected = [face.estimate.age for face in estimator.find(photo)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: [face.estimate.age for face in estimator.find(photo)], range(40)))
    assert answers == [expected] * 40


def test_a_closed_estimator_finds_nothing_and_says_so(estimator: AgeEstimator) -> None:
    estimator.close()
    for call in (lambda: estimator.find(b""), lambda: estimator.find_many([])):
        with pytest.raises(AgedetectError, match=r"^age\.onnx: this AgeEstimator is closed; create a new one$"):
            call()
    assert estimator._detector is not None
    assert estimator._detector.is_closed


def answer(pipe: Connection, estimator: AgeEstimator) -> None:
    """In another process."""
    pipe.send([face.estimate.age for face in estimator.find(draw((480, 320), SMALL_AND_LARGE))])


@pytest.mark.parametrize("way", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_another_process_finds_the_same(estimator: AgeEstimator, way: str) -> None:
    expected = [face.estimate.age for face in estimator.find(draw((480, 320), SMALL_AND_LARGE))]
    context = multiprocessing.get_context(way)
    ours, theirs = context.Pipe()
    process = context.Process(target=answer, args=(theirs, estimator))  # type: ignore[attr-defined]
    process.start()
    try:
        assert ours.poll(60), "the process hangs"
        assert ours.recv() == expected
    finally:
        process.join(5)
        process.kill()


def test_a_detector_that_has_changed_is_not_taken_for_the_pickled_one(tmp_path: Path, model: Path) -> None:
    detector = write_tiny_detector(tmp_path / "tiny.onnx")
    data = pickle.dumps(AgeEstimator(model, device="cpu", detector=detector))
    write_tiny_detector(detector, (64, 64))
    with pytest.raises(ModelError, match=r"^tiny\.onnx: has changed since its AgeEstimator was pickled; create a new"):
        pickle.loads(data)


def test_without_a_detector_the_known_one_is_opened_when_it_is_needed(
    tmp_path: Path, model: Path, detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[Path] = []

    def fetch() -> Path:
        fetched.append(detector)
        time.sleep(0.05)  # while the other threads wait
        return detector

    monkeypatch.setattr("agedetect_runtime.estimator.detector_file", fetch)
    estimator = AgeEstimator(model, device="cpu")
    assert fetched == []
    with ThreadPoolExecutor(4) as pool:
        faces = list(pool.map(lambda _: len(estimator.find(draw((480, 320), SMALL_AND_LARGE))), range(8)))
    assert (faces, fetched) == ([2] * 8, [detector])
    assert pickle.loads(pickle.dumps(estimator))._detector is None  # another machine has its own cache


# On the command line


def infer(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["--device", "cpu", *map(str, arguments)])


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_every_face_is_a_row(photos: Path, model: Path, detector: Path) -> None:
    done = infer(photos, "--onnx", model, "--find-faces", "--detector", detector)
    assert done.exit_code == 0, done.output
    table = rows(done.stdout)
    assert list(table[0]) == ["file", "face", "x", "y", "width", "height", "score", "age", "low", "high", "error"]
    assert [(Path(row["file"]).name, row["face"], row["error"]) for row in table] == [
        ("a.png", "1", ""),
        ("a.png", "2", ""),
        ("b.png", "", "no face found"),
        ("c.png", "1", ""),
        ("d.png", "", "empty file"),
        ("e.png", "1", ""),
        ("e.png", "2", ""),
        ("e.png", "3", ""),
    ]
    assert [table[0][name] for name in ("x", "y", "width", "height", "score")] == [
        "16.0",
        "16.0",
        "64.0",
        "64.0",
        "1.0",
    ]
    assert float(table[3]["age"]) == pytest.approx(BLUE_YEARS, abs=TOLERANCE_YEARS)
    assert set(table[2].values()) == {table[2]["file"], "", "no face found"}
    assert done.stderr.startswith("5 images, 2 failed, 6 faces found, ")
    assert infer(photos, "--onnx", model, "--find-faces", "--detector", detector, "--strict").exit_code == 1
    nobody = infer(photos / "b.png", "--onnx", model, "--find-faces", "--detector", detector)
    assert nobody.exit_code == 1
    assert nobody.stderr.endswith("no face found; if each image is one face that fills it, omit --find-faces\n")


def test_the_largest_of_each_photo_as_json_lines(photos: Path, model: Path, detector: Path, tmp_path: Path) -> None:
    output = tmp_path / "ages.jsonl"
    done = infer(photos, "--onnx", model, "--find-faces", "--largest", "--detector", detector, "--output", output)
    assert done.exit_code == 0, done.output
    table = [json.loads(line) for line in output.read_text().splitlines()]
    assert [(Path(row["file"]).name, row["face"], row["width"], row["error"]) for row in table] == [
        ("a.png", 1, 64.0, None),
        ("b.png", None, None, "no face found"),
        ("c.png", 1, 32.0, None),
        ("d.png", None, None, "empty file"),
        ("e.png", 1, 16.0, None),
    ]
    assert done.stderr.startswith("5 images, 2 failed, 3 faces found, ")


def test_options_of_the_search_need_it(photos: Path, model: Path, detector: Path) -> None:
    for option in (["--largest"], ["--detector", str(detector)]):
        done = infer(photos, "--onnx", model, *option)
        assert done.exit_code == 2
        assert f"'{option[0]}': it needs --find-faces" in done.output


def test_a_detector_that_cannot_be_had_is_one_line(
    photos: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detectorfile, "YUNET", KnownFile("http://127.0.0.1:9/yunet.onnx", "0", 1))
    monkeypatch.setenv("AGEDETECT_CACHE", str(tmp_path / "cache"))
    done = infer(photos, "--onnx", model, "--find-faces")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "Error: http://127.0.0.1:9/yunet.onnx: no answer (connection refused); try again, or download it elsewhere and "
        f"put it at {tmp_path / 'cache' / 'yunet_n_dynamic.onnx'}; "
        "AGEDETECT_CACHE sets its folder, and --detector FILE takes another detector\n"
    )


# Resuming: a photo has any number of rows


def finding_of(path: str, faces: int) -> Finding:
    """With ages that tell photos and faces apart; two faces of each three are no numbers."""
    found = []
    for number in range(faces):
        is_bad = (len(path) + number) % 3 == 0
        estimate = Failure(path, "not a number") if is_bad else Estimate(path, float(len(path) + number))
        found.append(FoundFace(FaceBox(1.5, -2.0, 30.0, 40.0), np.zeros((5, 2), np.float32), 0.75, estimate))
    return Finding(path, tuple(found), None if found else "no face found")


# One photo named twice in a row, and a name of two lines.
PHOTOS = {"a.jpg": 2, "bb.jpg": 0, "c\nc.jpg": 3, "dddd.jpg": 1, "=e.jpg": 0, "ff.jpg": 5}
PATHS = ["a.jpg", "bb.jpg", "c\nc.jpg", "c\nc.jpg", "dddd.jpg", "=e.jpg", "=e.jpg", "ff.jpg"]


def write_report(output: Path, *, resume: bool = False) -> tuple[int, int, int]:
    with report_to(output, PATHS, metadata={"model": "x"}, resume=resume, faces=True) as report:
        for path in report.missing:
            report.write(finding_of(path, PHOTOS[path]))
    return report.done_before, report.failed_before, report.faces_before


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_job_that_stopped_anywhere_resumes_to_the_same_file(tmp_path: Path, suffix: str) -> None:
    whole, output = tmp_path / f"whole.{suffix}", tmp_path / f"ages.{suffix}"
    assert write_report(whole) == (0, 0, 0)
    expected = whole.read_bytes()
    part, metadata = tmp_path / f"ages.{suffix}.part", tmp_path / f"ages.{suffix}.part.json"
    done_before = set()
    for size in range(len(expected) + 1):
        part.write_bytes(expected[:size])
        metadata.write_text('{"model": "x"}')
        done_before.add(write_report(output, resume=True))
        assert output.read_bytes() == expected
        output.unlink()
    # The last photo is done again, and of those before, those with an error have failed; their faces count.
    failed = [finding_of(path, PHOTOS[path]) for path in PATHS]
    has_failed = [bool(f.error) or any(face.estimate.error for face in f.faces) for f in failed]
    faces = [PHOTOS[path] for path in PATHS]
    assert done_before == {(count, sum(has_failed[:count]), sum(faces[:count])) for count in range(len(PATHS))}


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda lines: [lines[0], lines[2]], "its row 1 is damaged"),  # a second face without a first
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], "its image 2 is a.jpg, now it is bb.jpg"),
        (lambda lines: [*lines[:2], lines[2].replace("a.jpg", "b.jpg")], "its row 2 is damaged"),
        (lambda lines: [lines[0], lines[3]], "its image 1 is bb.jpg, now it is a.jpg"),
        (lambda lines: [lines[0].replace("face,", "")], None),
    ],
)
def test_rows_that_are_not_of_these_photos_are_refused(
    tmp_path: Path, edit: Callable[[list[str]], list[str]], words: str | None
) -> None:
    whole, part = tmp_path / "whole.csv", tmp_path / "ages.csv.part"
    write_report(whole)
    part.write_text("".join(edit(whole.read_text().splitlines(keepends=True))))
    (tmp_path / "ages.csv.part.json").write_text('{"model": "x"}')
    with pytest.raises(AgedetectError, match=words or "has different columns"):
        write_report(tmp_path / "ages.csv", resume=True)


def test_a_job_of_another_detector_or_without_largest_is_not_resumed(
    tmp_path: Path, photos: Path, model: Path, detector: Path
) -> None:
    def leave_six_hundred_bytes() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))

    output = tmp_path / "ages.csv"
    paths = "".join(f"{path}\n" for path in sorted(photos.iterdir()) * 3)

    def run(*options: str | Path, limited: bool = False) -> subprocess.CompletedProcess[str]:
        call = [sys.executable, "-c", "from agedetect_runtime.cli import main; main()", "-", "--device", "cpu"]
        call += ["--find-faces", "--onnx", str(model), "--output", str(output), *map(str, options)]
        limit = leave_six_hundred_bytes if limited else None
        return subprocess.run(
            call, input=paths, capture_output=True, text=True, timeout=60, check=False, preexec_fn=limit
        )

    full = run("--detector", detector, limited=True)
    assert full.returncode == 1
    assert "use --resume to continue" in full.stderr
    other = write_tiny_detector(tmp_path / "other.onnx", (64, 64))
    assert "was started with a different detector;" in run("--detector", other, "--resume").stderr
    assert "was started with a different --largest;" in run("--detector", detector, "--largest", "--resume").stderr
    resumed = run("--detector", detector, "--resume")
    assert resumed.returncode == 0
    assert re.match(r"15 images \(\d+ of them done before\), 6 failed, 18 faces found, ", resumed.stderr)
    assert len(output.read_text().splitlines()) == 1 + 3 * 8
