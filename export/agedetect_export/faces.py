"""Which image files an export is compared on."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

from agedetect_runtime import ModelError
from agedetect_runtime.listing import list_images


def from_run(listed: Sequence[tuple[Path, float]], count: int) -> list[Path]:
    """Up to `count` of a run's validation images (path, age in years) that are here, spread evenly over age.

    Raises ModelError where none of them is here; no other faces take their place.
    """
    here = _here(listed)
    if not here:
        raise ModelError(f"{_none_of(listed, 'validation')}; give a folder of faces with --faces")
    return spread_over_age(here, count)


def present(
    listed: Sequence[tuple[Path, float]], split: str, remedy: str, *, share: float = 0.0
) -> list[tuple[Path, float]]:
    """Those of a run's images that are here. Raises ModelError where none is, or less than `share` of them."""
    here = _here(listed)
    if not here:
        raise ModelError(f"{_none_of(listed, split)}; {remedy}")
    if len(here) < share * len(listed):
        found = f"only {len(here)} of the source run's {len(listed)} {split} images are on this machine"
        raise ModelError(f"{found}, too few for a verdict; {remedy}")
    return here


def _here(listed: Sequence[tuple[Path, float]]) -> list[tuple[Path, float]]:
    return [face for face in listed if os.path.isfile(face[0])]  # noqa: PTH113 (Path's raises in a closed folder)


def _none_of(listed: Sequence[tuple[Path, float]], split: str) -> str:
    example = f", {listed[0][0]} for one" if listed else ""
    return f"none of the source run's {len(listed)} {split} images is on this machine{example}"


def spread_over_age(faces: Sequence[tuple[Path, float]], count: int) -> list[Path]:
    """`count` faces, or all where there are fewer: at even steps of age, the nearest not taken yet."""
    left = sorted(faces, key=lambda face: (face[1], str(face[0])))
    if len(left) <= count:
        return [path for path, _ in left]
    youngest, oldest = left[0][1], left[-1][1]
    taken = []
    for step in range(count):
        age = youngest + (oldest - youngest) * step / max(count - 1, 1)
        nearest = min(range(len(left)), key=lambda index: abs(left[index][1] - age))
        taken.append(left.pop(nearest)[0])
    return taken


def from_folder(folder: Path, count: int) -> list[Path]:
    """Up to `count` of the images that the runtime finds below `folder`, at even steps of their sorted paths.

    Raises AgedetectError where there is none.
    """
    paths, _ = list_images([str(folder)], io.BytesIO())
    found = [Path(path) for path in paths]
    taken = min(count, len(found))
    return [found[index * len(found) // taken] for index in range(taken)]
