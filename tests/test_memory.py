"""Memory for decoding is bounded by what a format needs, for one image and for all threads of a process together."""

from __future__ import annotations

import io
import struct
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agedetect_runtime import memory
from agedetect_runtime.annotate import Annotator
from agedetect_runtime.detection import FaceBox
from agedetect_runtime.errors import ImageError
from agedetect_runtime.estimate import Estimate
from agedetect_runtime.finding import FoundFace
from agedetect_runtime.images import load_face, load_picture, open_rgb
from agedetect_runtime.memory import decoding, reserve
from agedetect_runtime.pipeline import stream
from agedetect_runtime.rows import FaceRow
from agedetect_runtime.thumbnails import thumbnails
from malformed.damage import jpeg2000_header
from memory_peak import peak_bytes, plain

BIG = Image.new("L", (3000, 3000))  # 99 MB, for what is known of it
ROOM_FOR_ONE = 150_000_000


def test_an_image_is_refused_by_what_its_format_takes_before_it_is_decoded() -> None:
    with pytest.raises(ImageError, match=r"too large: 8000x8000 pixels of JPEG2000 take 1.60 GB to decode, the limit"):
        open_rgb(jpeg2000_header(8000, 8000))
    with pytest.raises(ImageError, match=r"truncated|damaged"):  # now it was decoded
        open_rgb(jpeg2000_header(6000, 6000))


def scans(channels: int) -> bytes:
    """A sequential JPEG up to its first scan, which has so many of its three channels (ISO/IEC 10918-1, B.2)."""
    frame = struct.pack(">BHHB", 8, 64, 64, 3) + b"\1\x11\0\2\x11\0\3\x11\0"
    scan = bytes([channels]) + b"".join(bytes([1 + channel, 0]) for channel in range(channels)) + b"\0\x3f\0"
    parts = ((b"\xff\xc0", frame), (b"\xff\xda", scan))
    return b"\xff\xd8" + b"".join(mark + struct.pack(">H", 2 + len(part)) + part for mark, part in parts)


def test_a_jpeg_that_comes_in_passes_takes_the_memory_of_its_coefficients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_BYTES", 64 * 64 * 10)
    face = Image.new("RGB", (64, 64))
    for data, is_refused in (
        (encoded(face), False),
        (encoded(face, progressive=True), True),
        (scans(3), False),
        (scans(1), True),
    ):
        with Image.open(io.BytesIO(data)) as image:
            place = image.fp.tell() if image.fp else 0
            if is_refused:
                with pytest.raises(ImageError, match="too large"):
                    reserve(image, image.size)
            else:
                reserve(image, image.size)
            assert image.fp is not None
            assert image.fp.tell() == place


def encoded(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def test_images_that_fit_one_by_one_only_are_decoded_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_BYTES", ROOM_FOR_ONE)
    at_once, most, lock = 0, 0, threading.Lock()

    @decoding()
    def decode(_: int) -> int:
        nonlocal at_once, most
        reserve(BIG, BIG.size)
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.15)
        with lock:
            at_once -= 1
        return 0

    # Six of them take 0.9 s, and a wait within 0.6 s of the limit and its grace would be too late.
    rows = stream(
        range(6),
        decode,
        lambda _, items: [isinstance(item, int) for item in items],
        threads=6,
        batch_size=1,
        image_seconds=0.3,
    )
    assert list(rows) == [True] * 6
    assert most == 1
    assert memory._held == {}


def test_an_image_that_is_given_up_leaves_its_room_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_BYTES", ROOM_FOR_ONE)
    never = threading.Event()

    @decoding()
    def decode(number: int) -> int:
        reserve(BIG, BIG.size)
        if number == 0:
            never.wait(30)
        return number

    rows = stream(range(3), decode, lambda _, items: items, threads=2, batch_size=1, image_seconds=0.2)
    assert list(rows) == ["took longer than 0.2 s", 1, 2]
    never.set()


def test_small_images_wait_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_BYTES", ROOM_FOR_ONE)
    with decoding():
        reserve(BIG, BIG.size)
        other = threading.Thread(target=load_face, args=(encoded(Image.new("RGB", (500, 500))), 64, "bilinear"))
        other.start()
        other.join(10)
        assert not other.is_alive()


@pytest.mark.parametrize("path", ["picture", "copy", "thumbnail"])
def test_whoever_decodes_an_image_waits_for_room(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_BYTES", ROOM_FOR_ONE)
    photo = tmp_path / "photo.png"
    BIG.save(photo)
    found = FoundFace(FaceBox(0, 0, 90, 90), np.zeros((5, 2), np.float32), 0.9, Estimate(str(photo), 30.0))
    use: dict[str, Callable[[], object]] = {
        "picture": lambda: load_picture(photo),
        "copy": lambda: Annotator(tmp_path / "copies", []).add(found.estimate),
        "thumbnail": lambda: thumbnails([FaceRow(found.estimate, 1, found)], threads=1, image_seconds=30),
    }
    user = threading.Thread(target=use[path])
    with decoding():
        reserve(BIG, BIG.size)
        user.start()
        deadline = time.monotonic() + 10
        while not memory._waiting and time.monotonic() < deadline:
            time.sleep(0.005)
        assert memory._waiting
    user.join(10)
    assert not user.is_alive()
    assert memory._held == {}


def test_the_thread_that_gives_up_others_does_not_wait_for_them_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_BYTES", ROOM_FOR_ONE)

    def copy() -> None:
        with decoding(patience=0.1):
            reserve(BIG, BIG.size)

    writer = threading.Thread(target=copy, daemon=True)
    with decoding():
        reserve(BIG, BIG.size)
        writer.start()
        writer.join(10)
        assert not writer.is_alive()


def test_a_picture_is_answered_before_its_thread_loads_another() -> None:
    held, most, lock = 0, 0, threading.Lock()

    def count(by: int) -> None:
        nonlocal held, most
        with lock:
            held += by
            most = max(most, held)

    def answer(numbers: Sequence[int], _: object) -> Sequence[int]:
        time.sleep(0.01)
        count(-1)
        return numbers

    assert list(stream(range(30), lambda _: count(1), answer, threads=3, batch_size=1)) == list(range(30))
    assert 1 <= most <= 3  # not the eight batches that are taken ahead


@pytest.mark.slow
def test_four_threads_on_the_largest_images_of_all_formats_stay_within_the_limit(tmp_path: Path) -> None:
    files = {
        "grey.png": plain("PNG", (10_000, 12_000), "1"),
        "grey.gif": plain("GIF", (10_000, 12_000), "P"),
        "rgb.jp2": plain("JPEG2000", (7200, 7200)),
        "rgba.webp": plain("WEBP", (8300, 8300), "RGBA", lossless=True, exact=True, method=0),
        "progressive.jpg": plain("JPEG", (8000, 8000), "CMYK", progressive=True, subsampling=0),
        "one strip.tif": plain("TIFF", (9000, 9000), "RGBA", compression="tiff_adobe_deflate"),
        "too large.jp2": jpeg2000_header(10_000, 10_000),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    peak, outcomes = peak_bytes([tmp_path / name for name in files], threads=4)
    assert outcomes[:-1] == ["read"] * (len(files) - 1)
    assert outcomes[-1].startswith("too large: 10000x10000 pixels of JPEG2000 take 2.50 GB")
    # The files themselves and images too small to wait for come on top.
    assert peak < memory.MAX_BYTES + 200e6, f"{peak / 1e6:.0f} MB"
