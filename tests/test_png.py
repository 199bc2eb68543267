"""What a PNG costs that is damaged, or has texts that Pillow refuses: little memory, whatever its size."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest

from agedetect_runtime import png as runtime_png
from agedetect_runtime.errors import ImageError
from agedetect_runtime.images import open_rgb
from malformed.pictures import PICTURE, chunk, png, png_header

IN_HEADER = "truncated or damaged in its header"
REFUSED_TEXT = chunk(b"zTXt", b"Comment\0\x09" + zlib.compress(b"text"))


def reason_and_peak(path: Path) -> tuple[str, int]:
    """Why a file is refused, and the most bytes that Python held meanwhile."""
    tracemalloc.start()
    try:
        with pytest.raises(ImageError) as caught:
            open_rgb(path)
        return str(caught.value), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("start", "why"),
    [
        pytest.param(b"", IN_HEADER, id="zeros"),
        pytest.param(REFUSED_TEXT, IN_HEADER, id="text and zeros"),
        pytest.param(REFUSED_TEXT + chunk(b"IEND", b""), "damaged: cannot load this image", id="text and the end"),
        pytest.param(
            REFUSED_TEXT + struct.pack(">I", 2**32 - 1) + b"IDAT",
            "damaged, and too large to be read without its texts: 1000 MB, the limit is 64",
            id="text and 4 GB of pixels",
        ),
    ],
)
def test_a_large_file_of_nothing_takes_no_memory(start: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.write(png_header(64, 64, 8, 2) + start)
        file.truncate(1_000_000_000)  # sparse where the file system can
    reason, peak = reason_and_peak(path)
    assert reason == why
    assert peak < 5e6  # what Pillow's plugins hold; a record for each twelve zeros would be gigabytes


def test_a_copy_without_texts_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(PICTURE, 8, 2, extra=REFUSED_TEXT))
    size = path.stat().st_size - len(REFUSED_TEXT) - len(runtime_png.SIGNATURE)
    monkeypatch.setattr(runtime_png, "MAX_COPY", size)
    assert open_rgb(path).size == (64, 64)
    monkeypatch.setattr(runtime_png, "MAX_COPY", size - 1)
    with pytest.raises(ImageError, match="too large to be read without its texts: 0 MB, the limit is 0"):
        open_rgb(path)


def test_only_a_refusal_for_texts_is_answered_by_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    sound_text = chunk(b"tEXt", b"Comment\0text")
    monkeypatch.setattr(runtime_png, "MAX_COPY", 0)
    with pytest.raises(ImageError, match=r"^too large: 64x64 pixels, the limit is 100$"):
        open_rgb(png(PICTURE, 8, 2, extra=sound_text), max_pixels=100)
    with pytest.raises(ImageError, match=r"^truncated$"):
        open_rgb(png(PICTURE, 8, 2, extra=sound_text)[:-40])


def test_the_number_of_chunks_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = png(PICTURE, 8, 2, extra=8 * chunk(b"abCd", b""))  # IHDR, eight, IDAT, which is as far as we read
    monkeypatch.setattr(runtime_png, "_MOST_CHUNKS", 10)
    assert open_rgb(data).size == (64, 64)
    monkeypatch.setattr(runtime_png, "_MOST_CHUNKS", 9)
    with pytest.raises(ImageError, match=r"^unsupported: PNG of more than 9 chunks$"):
        open_rgb(data)
