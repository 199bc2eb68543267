"""The detector's file: the user's own, or ours, which is downloaded once and kept."""

from __future__ import annotations

import os
from pathlib import Path

from agedetect_runtime.download import KnownFile, fetch, is_whole, sha256_of
from agedetect_runtime.errors import AgedetectError

# YuNet with a dynamic input, Apache-2.0: github.com/ShiqiYu/libfacedetection.train.
YUNET = KnownFile(
    "https://raw.githubusercontent.com/ShiqiYu/libfacedetection.train/"
    "0047ac24afb1a50a0c6105001c89d1b5b805dbf1/onnx/yunet_n_dynamic.onnx",
    "104ee26c71d5c270ce79a6b3dced91c91013260d29a6bf18f9296c5b8c4c2b12",
    322_906,
)
_NAME = "yunet_n_dynamic.onnx"


def detector_file(*, quiet: bool = False) -> Path:
    """Our detector in the cache folder, downloaded there unless it is there already; `quiet` hides the progress.

    Raises AgedetectError where it can't be had; the message says what to put where, and what is there instead.
    """
    place = cache_folder() / _NAME
    if not is_whole(YUNET, place):
        try:
            fetch(YUNET, place, quiet=quiet)
        except AgedetectError as error:
            choices = "AGEDETECT_CACHE sets its folder, and --detector FILE takes another detector"
            raise AgedetectError(f"{error}{_wrong_file(place)}; {choices}") from error
    return place


def cached_detector() -> Path | None:
    """Our detector where it was downloaded before; nothing is downloaded. A user without a home has none."""
    try:
        place = cache_folder() / _NAME
    except AgedetectError:
        return None
    return place if is_whole(YUNET, place) else None


def cache_folder() -> Path:
    """`AGEDETECT_CACHE`, or `~/.cache/agedetect`. Raises AgedetectError for a user without a home folder."""
    if chosen := os.environ.get("AGEDETECT_CACHE"):
        return Path(chosen).absolute()
    try:
        return Path.home() / ".cache" / "agedetect"
    except RuntimeError as error:
        raise AgedetectError("no home folder to keep the detector in; set AGEDETECT_CACHE to a folder") from error


def _wrong_file(place: Path) -> str:
    """Empty where nothing is at `place`."""
    if not os.path.lexists(place):
        return ""
    found = sha256_of(place) or "unknown, as it cannot be read"
    return f"; what is there now is not it: SHA-256 {found}, expected {YUNET.sha256}"
