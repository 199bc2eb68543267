"""`python -m benchmarks.near_duplicates UTKFace_data`: pairs by threshold, against whole pixels, and across splits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from agedetect.data.duplicates import CELLS, near_duplicate_pairs, thumbnail
from agedetect.data.faces import Face, FaceSet, read_faces
from agedetect.data.protocols import PROTOCOLS
from agedetect.data.splits import Splits, split_faces
from agedetect_runtime.images import open_rgb
from benchmarks.rates import table

THRESHOLDS = (0.88, 0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.97)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("data", type=click.Path(path_type=Path))
def main(data: Path) -> None:
    """Count the near-duplicates of DATA, a labelled folder, archive or manifest."""
    face_set = read_faces(data)
    click.echo(_seconds(face_set) + "\n")
    click.echo(_pairs(face_set))
    click.echo(_groups(face_set.faces) + "\n")
    click.echo(_splits(face_set.faces), nl=False)


def _different(face_set: FaceSet) -> list[Face]:
    """One face for each digest: pixel-identical files are no pairs here."""
    return list({face.digest: face for face in face_set.faces}.values())


def _thumbnails(faces: Sequence[Face]) -> NDArray[np.uint8]:
    cells = b"".join(thumbnail(open_rgb(face.path)) for face in faces)
    return np.frombuffer(cells, np.uint8).reshape(-1, CELLS * CELLS)


def _seconds(face_set: FaceSet) -> str:
    faces = _different(face_set)
    images = [open_rgb(face.path) for face in faces[:500]]
    start = time.perf_counter()
    for image in images:
        thumbnail(image)
    each = (time.perf_counter() - start) / len(images)
    cells = _thumbnails(faces)
    start = time.perf_counter()
    near_duplicate_pairs(cells)
    search = time.perf_counter() - start
    return f"{len(faces):,} different images: {1e6 * each:.0f} microseconds a thumbnail, {search:.1f} s for the search"


def _pairs(face_set: FaceSet) -> str:
    faces = _different(face_set)
    cells = _thumbnails(faces)

    @lru_cache(2000)
    def pixels(index: int) -> NDArray[np.float64]:
        grey = open_rgb(faces[index].path).convert("L").resize((200, 200), Image.Resampling.BICUBIC)
        return np.asarray(grey, np.float64).ravel()

    candidates = near_duplicate_pairs(cells, min(THRESHOLDS)).T
    alike = {(one, other) for one, other in candidates if np.corrcoef(pixels(one), pixels(other))[0, 1] > 0.99}
    rows = []
    for threshold in THRESHOLDS:
        found = {(one, other) for one, other in near_duplicate_pairs(cells, threshold).T}
        rows.append([f"{threshold:g}", f"{len(found):,}", f"{len(found & alike):,}"])
    return table(["threshold", "pairs", "of which all pixels correlate by over 0.99"], rows)


def _groups(faces: Sequence[Face]) -> str:
    spreads = []
    for near in {face.near for face in faces} - {None}:
        ages = [face.age for face in faces if face.near == near]
        spreads.append(max(ages) - min(ages))
    files = sum(face.near is not None for face in faces)
    differ = [spread for spread in spreads if spread]
    everything = len({face.picture for face in faces})
    return (
        f"{len(spreads):,} photographs in {files:,} files of different pixels; the labels of {len(differ):,} differ, "
        f"by {np.mean(differ or [0]):.1f} years on average; {everything:,} photographs in all"
    )


def _splits(faces: Sequence[Face]) -> str:
    rows = []
    for name, protocol in PROTOCOLS.items():
        for fold in range(protocol.folds):
            before, after = (split_faces(faces, protocol=name, fold=fold, omit_near=omit) for omit in (False, True))
            if before.test_fingerprint != after.test_fingerprint:
                raise AssertionError(f"{name} {fold}: the test faces moved")
            rows.append([f"{name} {fold}", *_crossings(before), f"{len(after.omitted):,}", *_crossings(after)])
    what = ["test, in training", "test, in validation", "validation, in training"]
    return table(["split", *what, "omitted", *(f"then {name}" for name in what)], rows)


def _crossings(splits: Splits) -> list[str]:
    """How many faces of one subset have a near-duplicate in another."""
    pairs = ((splits.test, splits.train), (splits.test, splits.validation), (splits.validation, splits.train))
    found = []
    for here, there in pairs:
        near = {face.near for face in there} - {None}
        found.append(str(sum(face.near in near for face in here)))
    return found


if __name__ == "__main__":
    main()
