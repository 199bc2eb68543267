"""HEIC, by its content, upright by its own transform, and what a row says where its decoder isn't installed."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pillow_heif import from_pillow

from agedetect_runtime.errors import ImageError
from agedetect_runtime.images import load_face, open_rgb
from malformed.pictures import PICTURE, heic

# HEVC at quality 95, whose blocks are smooth here, and colours by way of YCbCr.
LOSSY = 6


def test_content_decides_whatever_the_name(tmp_path: Path) -> None:
    (tmp_path / "really_heic.jpg").write_bytes(heic())
    Image.fromarray(PICTURE).save(tmp_path / "really_png.HEIC", "PNG")
    assert np.abs(load_face(tmp_path / "really_heic.jpg", 64, "bilinear").astype(int) - PICTURE).max() <= LOSSY
    assert (load_face(tmp_path / "really_png.HEIC", 64, "bilinear") == PICTURE).all()


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_its_own_transform_turns_it_and_its_exif_does_not(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(PICTURE, 1)[:, :48]))
    file = io.BytesIO()
    if kind == "HEIF":
        from_pillow(stored).save(file, quality=95, chroma=444, exif=exif.tobytes())
    else:
        stored.save(file, "AVIF", quality=95, subsampling="4:4:4", exif=exif)
    data = bytearray(file.getvalue())
    assert np.abs(np.asarray(open_rgb(data)).astype(int) - PICTURE[:48]).max() <= LOSSY
    data[data.index(b"irot") + 4] = 0  # quarters of a turn
    assert np.abs(np.asarray(open_rgb(data)).astype(int) - np.asarray(stored)).max() <= LOSSY


def test_without_its_decoder_the_reason_is_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as Python marks what can't be imported
    with pytest.raises(ImageError, match=r"^unsupported: HEIC, without its decoder; pip install pillow-heif$"):
        open_rgb(heic())


@pytest.mark.parametrize("tenths", range(1, 10))
def test_a_truncated_file_is_never_an_image(tenths: int) -> None:
    data = heic()
    with pytest.raises(ImageError):
        open_rgb(data[: len(data) * tenths // 10])
