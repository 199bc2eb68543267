"""A UTKFace folder, an archive of it or a CSV manifest -> faces with ages, and what was skipped and why."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from agedetect.data.archives import extract, is_archive
from agedetect.data.duplicates import CELLS, group_near_duplicates, thumbnail
from agedetect.data.labels import Label, LabelError, label_of_name
from agedetect.data.manifest import SUFFIXES, read_manifest
from agedetect.errors import DataError
from agedetect_runtime.cores import usable_cores
from agedetect_runtime.errors import ImageError
from agedetect_runtime.images import open_rgb
from agedetect_runtime.listing import is_folder, walk_images

REMEDY = (
    "download UTKFace by hand from its authors' page (https://susanqq.github.io/UTKFace) and put the folder "
    "or the archive there, or name another place with --data-dir, or make sample faces with 'agedetect draw'"
)
_CHUNK = 64

Notes = tuple[str, ...]


@dataclass(frozen=True)
class Face:
    """One labelled image. `age` is in years; `gender` and `race` are None where unknown.

    `digest` names the upright RGB pixels and their size (`size` is width, height): equal pixels have equal
    digests whatever the file's format or headers. `near` is the digest that stands for the face and its
    near-duplicates among the faces read with it, None where it has none.
    """

    path: Path
    age: float
    gender: str | None
    race: str | None
    digest: str
    size: tuple[int, int]
    near: str | None = None

    @property
    def picture(self) -> str:
        """Equal for files that show one photograph, pixel-identical or not."""
        return self.near or self.digest


@dataclass(frozen=True)
class Skipped:
    """A file or manifest row that gives no face; `kind` is "label" (name or row) or "image" (unreadable)."""

    path: Path
    reason: str
    kind: str


@dataclass(frozen=True)
class FaceSet:
    """`faces` and `skipped` are sorted by path; `source` is what was read, as an absolute path.

    `notes` say how the labels of a manifest were read where that was a choice.
    """

    faces: tuple[Face, ...]
    skipped: tuple[Skipped, ...]
    source: str
    notes: tuple[str, ...] = ()


def read_faces(data: str | Path, *, cache_dir: Path | None = None, threads: int | None = None) -> FaceSet:
    """Read and decode every labelled image of a folder, a .tar.gz, .tgz, .tar or .zip, or a CSV manifest.

    A folder is searched at any depth, hidden files and files without an image's suffix aside; one that holds
    no image but archives stands for those. A manifest is a .csv or .tsv with the columns path, age and, where known,
    gender and race, its paths relative to its own folder. Every image is decoded once, by `threads` threads (one a
    core by default), and compared with every other for near-duplicates.
    Raises DataError where there is nothing to read, or no face in it, and for a bad archive or manifest.
    """
    data = Path(data).absolute()
    candidates, notes = _candidates(data, cache_dir)
    labelled = [_label(path, label) for path, label in candidates]
    wanted = [item for item in labelled if not isinstance(item, Skipped)]
    with ThreadPoolExecutor(threads or usable_cores()) as pool:
        chunks = [wanted[start : start + _CHUNK] for start in range(0, len(wanted), _CHUNK)]
        read = [item for items in pool.map(_read_chunk, chunks) for item in items]
    faces = sorted(_find_near([item for item in read if isinstance(item, tuple)]), key=lambda face: face.path)
    skipped = [item for item in [*labelled, *read] if isinstance(item, Skipped)]
    face_set = FaceSet(tuple(faces), tuple(sorted(skipped, key=lambda item: item.path)), str(data), notes)
    if not faces and skipped:
        remedy = "" if data.suffix.lower() in SUFFIXES else "; a .csv with the columns path and age can give their ages"
        raise DataError(f"{data}: no faces: all {len(skipped)} files were skipped ({_reasons(face_set)}){remedy}")
    if not faces:
        raise DataError(f"{data}: no faces: no images there; {REMEDY}")
    return face_set


def require_few_skipped(face_set: FaceSet, max_fraction: float = 0.01) -> None:
    """Raises DataError where more than `max_fraction` of the files were skipped."""
    count = len(face_set.skipped)
    total = count + len(face_set.faces)
    if count > max_fraction * total:
        raise DataError(
            f"{face_set.source}: {count} of {total} files were skipped ({_reasons(face_set)}); "
            f"repair them, or allow it with --max-skipped {_rounded_up(count / total)} "
            f"(now {max_fraction:g})"
        )


def _rounded_up(fraction: float) -> float:
    return min(1.0, int(fraction * 100 + 1) / 100)


def _reasons(face_set: FaceSet, limit: int = 3) -> str:
    named = [f"{item.path.name!r}: {item.reason}" for item in face_set.skipped[:limit]]
    more = len(face_set.skipped) - len(named)
    return "; ".join(named) + (f"; and {more} more" if more else "")


def _candidates(data: Path, cache_dir: Path | None) -> tuple[Iterable[tuple[Path, Label | LabelError]], Notes]:
    if is_folder(data):
        return _in_folder(data, cache_dir), ()
    if not os.path.exists(data):  # noqa: PTH110
        raise DataError(f"{data}: no such folder, archive or manifest; {REMEDY}")
    if is_archive(data):
        return _images_below(extract(data, cache_dir)), ()
    if data.suffix.lower() in SUFFIXES:
        manifest = read_manifest(data)
        return manifest.rows, manifest.notes
    if data.suffix.lower() in (".xls", ".xlsx", ".ods"):
        raise DataError(f"{data}: a workbook: save the sheet as 'CSV UTF-8' and give that file")
    raise DataError(f"{data}: neither a folder nor a .tar.gz, .tgz, .tar, .zip, .csv or .tsv; {REMEDY}")


def _in_folder(folder: Path, cache_dir: Path | None) -> list[tuple[Path, Label | LabelError]]:
    found = list(_images_below(folder))
    if all(isinstance(label, LabelError) for _, label in found):  # a preview beside the archive is no data set
        archives = sorted(path for path in folder.iterdir() if _is_shown_archive(path))
        found += [item for archive in archives for item in _images_below(extract(archive, cache_dir))]
    return found


def _is_shown_archive(path: Path) -> bool:
    """macOS leaves `._UTKFace.zip` beside the archive."""
    return is_archive(path) and not path.name.startswith(".") and path.is_file()


def _images_below(folder: Path) -> Iterator[tuple[Path, Label | LabelError]]:
    for path in map(Path, walk_images(str(folder))):
        yield path, label_of_name(path.name)


def _label(path: Path, label: Label | LabelError) -> tuple[Path, Label] | Skipped:
    if any("\ud800" <= character <= "\udfff" for character in str(path)):  # no table of ours could hold it
        return Skipped(path, "its name is not valid UTF-8: rename it", "label")
    return Skipped(path, label.reason, "label") if isinstance(label, LabelError) else (path, label)


def _find_near(found: list[tuple[Face, bytes]]) -> list[Face]:
    """Faces and thumbnails -> the faces with `near`, which depends on neither order nor names: digests are sorted."""
    if not found:
        return []
    digests, pixels = zip(*sorted({face.digest: cells for face, cells in found}.items()), strict=True)
    first = group_near_duplicates(np.frombuffer(b"".join(pixels), np.uint8).reshape(-1, CELLS * CELLS))
    sizes = np.bincount(first)
    near = {digest: digests[index] for digest, index in zip(digests, first, strict=True) if sizes[index] > 1}
    return [replace(face, near=near.get(face.digest)) for face, _ in found]


def _read_chunk(items: list[tuple[Path, Label]]) -> list[tuple[Face, bytes] | Skipped]:
    return [_read(path, label) for path, label in items]


def _read(path: Path, label: Label) -> tuple[Face, bytes] | Skipped:
    try:
        image = open_rgb(path)
    except ImageError as error:
        return Skipped(path, str(error), "image")
    pixels = hashlib.sha256(f"{image.width}x{image.height}:".encode())
    pixels.update(image.tobytes())
    face = Face(path, label.age, label.gender, label.race, pixels.hexdigest()[:32], image.size)
    return face, thumbnail(image)
