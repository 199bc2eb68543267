"""`--report`: one HTML file, safe whatever the files are called, small, and made in bounded memory."""

from __future__ import annotations

import base64
import hashlib
import html
import os
import re
import tracemalloc
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from agedetect_runtime import sampling
from agedetect_runtime.cli import main
from agedetect_runtime.estimate import Estimate, Failure
from agedetect_runtime.estimator import AgeEstimator
from agedetect_runtime.pagewriter import PageWriter
from agedetect_runtime.rows import FaceRow
from agedetect_runtime.sampling import FAILURES, OTHER_REASONS, ROWS, Reservoir, Sample
from agedetect_runtime.settings import Settings
from agedetect_runtime.thumbnails import thumbnails
from tiny_detector import draw, write_tiny_detector
from tiny_images import save_noise
from tiny_models import write_tiny_model

HOSTILE = [
    "<script>alert(1)<\\script>.png",
    '"onerror="alert(2)".png',
    "'><img src=x onerror=alert(3)>.png",
    "$title ${script}.png",
    "&lt;b&gt;.png",
    "new\nline\x1b[2J.png",
    "gnp.\u202eexe.png",
    os.fsdecode(b"caf\xe9.png"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "age.onnx", coverage=0.9)


def infer(*arguments: str | Path, stdin: str = "") -> Result:
    return CliRunner().invoke(main, [*map(str, arguments), "--device", "cpu"], input=stdin)


def body_rows(page: str) -> list[list[str]]:
    """The texts of the cells of each row, without its picture."""
    rows = re.findall(r"<tr[^>]*>(<td.*?)</tr>", page.partition('<table id="rows">')[2])
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]
    return [[html.unescape(cell) for cell in row[1:]] for row in cells]


def test_the_page_has_each_image_with_its_age_and_each_failure_with_its_reason(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    folder.mkdir()
    for name, level in {"a.png": 100, "b.png": 20}.items():
        Image.new("RGB", (40, 40), (level,) * 3).save(folder / name)
    (folder / "c.jpg").touch()
    done = infer(folder, "--onnx", model, "--report", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert (done.exit_code, done.stderr.startswith("3 images, 1 failed, ")) == (0, True)
    assert body_rows(page) == [
        [f"{folder}/a.png", "36.0", "31-41", ""],
        [f"{folder}/b.png", "8.0", "3-13", ""],
        [f"{folder}/c.jpg", "", "", "empty file"],
    ]
    assert page.count("data:image/jpeg;base64,") == 2
    assert "age.onnx: tiny, 32 px, intervals of 90% nominal coverage" in page
    assert hashlib.sha256(model.read_bytes()).hexdigest() in page
    assert '<tr><td>1</td><td class="text">empty file</td></tr>' in page
    assert 'title="35 to 39 years: 1"' in page
    assert "drawn at random" not in page


def test_a_photos_faces_have_their_own_thumbnails(model: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    draw((480, 320), [(320, 32, 16), (32, 32, 32)]).save(photos / "two.png")
    detector = write_tiny_detector(tmp_path / "tiny.onnx")
    found = ("--find-faces", "--detector", detector, "--report", tmp_path / "page.html")
    assert infer(photos, "--onnx", model, *found).exit_code == 0
    page = (tmp_path / "page.html").read_text("utf-8")
    assert [row[:2] for row in body_rows(page)] == [[f"{photos}/two.png", "1"], [f"{photos}/two.png", "2"]]
    for picture in re.findall(r'base64,([^"]+)"', page):
        (tmp_path / "face.jpg").write_bytes(base64.b64decode(picture))
        with Image.open(tmp_path / "face.jpg") as face:
            red, _, _ = face.getpixel((36, 36))  # type: ignore[misc]
            assert face.size == (72, 72)
            assert red > 200  # the face's red middle; around it the photo is dark


def test_only_what_could_be_read_is_read_again_and_a_photo_without_a_face_is_shown(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    draw((480, 320), []).save(photos / "nobody.png")
    draw((480, 320), [(32, 32, 32)]).save(photos / "one.png")
    rows = [
        FaceRow(Failure(str(photos / "nobody.png"), "no face found")),
        FaceRow(Failure(str(photos / "one.png"), "took longer than 30 s")),
        FaceRow(Estimate(str(photos / "gone.png"), 30.0)),
        FaceRow(Estimate(str(photos / "one.png"), 30.0)),
    ]
    assert [bool(picture) for picture in thumbnails(rows[:3], threads=2, image_seconds=30)] == [True, False, False]
    assert [bool(picture) for picture in thumbnails(rows[2:], threads=2, image_seconds=30)] == [False, True]


def test_no_name_becomes_markup_and_no_script_but_ours_may_run(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    folder.mkdir()
    for name in HOSTILE:
        save_noise(tmp_path / "noise.png", 1)
        (tmp_path / "noise.png").rename(folder / name)
    assert infer(folder, "--onnx", model, "--report", tmp_path / "page.html").exit_code == 0
    page = (tmp_path / "page.html").read_text("utf-8")
    tags = set(re.findall(r"<\s*([a-zA-Z]+)", re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.DOTALL)))
    assert not tags & {"script", "b", "iframe", "object"}
    assert re.findall(r"<img (?!alt=\"\" src=\"data:image/jpeg;base64,)", page) == []
    assert {row[0].removeprefix(f"{folder}/") for row in body_rows(page)} == {
        *HOSTILE[:5],
        "new\\nline\\x1b[2J.png",
        "gnp.\\u202eexe.png",
        "caf\\xe9.png",
    }
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in page
    assert re.findall(r"https?://", page) == []


def test_a_page_of_a_thousand_rows_is_under_five_megabytes_even_of_noise(model: Path, tmp_path: Path) -> None:
    save_noise(tmp_path / "noise.png", 1, size=(200, 200))
    names = [tmp_path / f"{'n' * 200}{number}.png" for number in range(ROWS)]
    for name in names:
        name.hardlink_to(tmp_path / "noise.png")
    listed = "".join(f"{name}\n" for name in names)
    assert infer("-", "--onnx", model, "--report", tmp_path / "page.html", stdin=listed).exit_code == 0
    assert len(body_rows((tmp_path / "page.html").read_text("utf-8"))) == ROWS
    assert (tmp_path / "page.html").stat().st_size < 5e6


def test_a_million_rows_are_sampled_and_the_page_says_so(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "ROWS", 5)
    monkeypatch.setattr(sampling, "FAILURES", 2)
    save_noise(tmp_path / "noise.png", 1)
    listed = f"{tmp_path}/noise.png\n" * 1200 + "none.png\n" * 3
    assert infer("-", "--onnx", model, "--report", tmp_path / "page.html", stdin=listed).exit_code == 0
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "The table shows 5 of 1,200 rows with an age and 2 of 3 failures, drawn at random." in page
    assert "<h1>Ages of 1,203 images</h1>" in page
    assert "<tr><td>3</td>" in page  # all of them are counted
    assert len(body_rows(page)) == 7


def test_memory_does_not_grow_with_the_rows() -> None:
    sample = Sample()

    def add(count: int) -> int:
        for number in range(count):
            sample.add(Estimate(f"{number}.jpg", number % 100))
            sample.add(Failure(f"{number}.png", f"too large: {number} pixels"))
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = add(20_000)
        grown = add(40_000) - before
    finally:
        tracemalloc.stop()
    assert grown < 100_000  # bytes, where a kept row has some 500: three times the rows, the same memory
    assert (len(sample.ages.items), len(sample.failures.items)) == (ROWS, FAILURES)
    assert sum(sample.reasons.values()) == 60_000
    assert sample.reasons[OTHER_REASONS] > 59_000


def test_a_sample_is_even_and_in_order() -> None:
    reservoir: Reservoir[int] = Reservoir(1000)
    for number in range(100_000):
        reservoir.add(number)
    kept = reservoir.items
    assert kept == sorted(set(kept))
    for part in range(10):  # 100 of each tenth on average, with a standard deviation of 9.5: four of them
        assert 62 <= sum(10_000 * part <= number < 10_000 * (part + 1) for number in kept) <= 138


def test_a_page_is_replaced_by_force_alone(model: Path, tmp_path: Path) -> None:
    save_noise(tmp_path / "a.png", 1)
    (tmp_path / "page.html").write_text("mine")
    call = (tmp_path / "a.png", "--onnx", model, "--report", tmp_path / "page.html")
    refused = infer(*call)
    assert (refused.exit_code, (tmp_path / "page.html").read_text()) == (1, "mine")
    assert "page.html: already exists; use --force to replace it" in refused.stderr
    assert infer(*call, "--force").exit_code == 0
    assert "<!doctype html>" in (tmp_path / "page.html").read_text()


def test_the_page_names_the_model_that_was_open_and_not_what_its_file_is_now(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(model.read_bytes())
    save_noise(tmp_path / "a.png", 1)
    call = ["a.png", "--onnx", str(copy), "--report", str(tmp_path / "page.html")]
    settings = main.make_context("agedetect-infer", call).params
    with AgeEstimator(copy, device="cpu") as estimator:
        page = PageWriter(tmp_path / "page.html", Settings(**settings), estimator)
        page.sample.add(estimator.predict(tmp_path / "a.png"))
        copy.unlink()
        page.write("1 image", 0)
    assert hashlib.sha256(model.read_bytes()).hexdigest() in (tmp_path / "page.html").read_text("utf-8")


def test_a_page_that_cannot_be_written_is_refused_before_the_job(model: Path, tmp_path: Path) -> None:
    save_noise(tmp_path / "a.png", 1)
    (tmp_path / "file").touch()
    done = infer(tmp_path / "a.png", "--onnx", model, "--report", tmp_path / "file" / "page.html")
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"{tmp_path}/file/page.html: cannot be written: " in done.stderr


def test_the_page_of_a_resumed_job_says_what_it_lacks(model: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save_noise(tmp_path / name, 1)
    output, part = tmp_path / "ages.csv", tmp_path / "ages.csv.part"
    first = f"{tmp_path}/a.png\n{tmp_path}/b.png\n"
    call = ("-", "--onnx", model, "--output", output)
    assert infer(*call, stdin=first + "\0").exit_code == 1  # a list that breaks off: its rows are kept
    assert part.read_text().count("\n") == 3
    save_noise(tmp_path / "c.png", 2)
    (tmp_path / "page.html").write_text("of the job before")
    done = infer(*call, "--resume", "--report", tmp_path / "page.html", stdin=first + f"{tmp_path}/c.png\n")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert done.exit_code == 0
    assert "2 images that were done before the job was resumed" in page
    assert [row[0] for row in body_rows(page)] == [f"{tmp_path}/c.png"]
