"""Images that come as bytes or as open files: read from where they stand, left open, refused in one line."""

from __future__ import annotations

import io
import mmap
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agedetect_runtime import sources
from agedetect_runtime.errors import ImageError
from agedetect_runtime.images import open_rgb
from agedetect_runtime.sources import describe_source, read_encoded
from tiny_images import png_bytes

PNG = png_bytes(1)


def test_a_file_is_read_from_its_position_to_its_end_and_stays_open(tmp_path: Path) -> None:
    (tmp_path / "two.bin").write_bytes(b"heading" + PNG)
    with (tmp_path / "two.bin").open("rb") as file:
        file.seek(7)
        assert open_rgb(file).size == (8, 8)
        assert (file.closed, file.read()) == (False, b"")


def test_files_of_every_make_are_read(tmp_path: Path) -> None:
    (tmp_path / "face.png").write_bytes(PNG)
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        archive.writestr("face.png", PNG)
    with (
        zipfile.ZipFile(tmp_path / "faces.zip") as archive,
        archive.open("face.png") as member,
        tempfile.SpooledTemporaryFile() as spooled,
        (tmp_path / "face.png").open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        spooled.write(PNG)
        spooled.seek(0)
        assert [read_encoded(source) for source in (member, spooled, mapped)] == [PNG] * 3


def test_a_file_that_gives_a_little_at_a_time_is_read_whole() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(7, size or 7))

    assert read_encoded(Slow(PNG)) == PNG


def test_memory_with_gaps_is_read_as_its_bytes() -> None:
    doubled = np.repeat(np.frombuffer(PNG, np.uint8), 2)
    assert read_encoded(doubled.data[::2]) == PNG


def reason(source: object) -> str:
    with pytest.raises(ImageError) as caught:
        open_rgb(source)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_wrong_with_a_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "face.png"
    path.write_bytes(PNG)
    with path.open() as text:
        assert reason(text) == 'the file is open in text mode; open it with mode "rb"'
    assert reason(io.StringIO("text")).startswith("the file is open in text mode")
    with path.open("rb") as closed:
        pass
    assert reason(closed) == "the file is closed; keep it open until its age is known"
    with path.open("ab") as write_only:
        assert reason(write_only) == "cannot be read: read"
    assert reason(io.BytesIO()) == "empty file"
    assert reason(io.BytesIO(PNG[:60])) == "truncated"

    class Texts:
        def read(self, size: int = -1, /) -> str:
            return "text"

    assert reason(Texts()) == "its read() gives str, not bytes; open the file in binary mode"


def test_a_file_without_end_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_STREAM_BYTES", 100_000)
    with Path("/dev/zero").open("rb") as endless:
        assert reason(endless) == "too large: more than 100000 bytes in an open file"
    monkeypatch.setattr(sources, "MAX_STREAM_BYTES", len(PNG))
    assert open_rgb(io.BytesIO(PNG)).size == (8, 8)


def test_a_source_is_described_without_its_content() -> None:
    assert describe_source("faces/a.jpg") == "'faces/a.jpg'"
    assert describe_source(b"x" * 12_345) == describe_source(memoryview(bytes(12_345))) == "<12,345 bytes>"
    assert describe_source(np.zeros((200, 100, 3), np.uint8)) == "<uint8 (200, 100, 3)>"
    assert describe_source(Image.new("L", (3, 2))) == "<L image, 3 x 2>"
    assert describe_source(io.BytesIO(PNG)) == "<BytesIO>"
    long = describe_source("x" * 100_000 + "/end.jpg")
    assert long.endswith("/end.jpg'")
    assert len(long) < 200
