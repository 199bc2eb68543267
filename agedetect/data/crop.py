"""Faces cut out of one's own photos, aligned as UTKFace's are, to train and evaluate on."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from agedetect.data.chips import ChipFolder
from agedetect.data.labels import Label, LabelError
from agedetect.data.manifest import SUFFIXES, read_manifest
from agedetect.errors import DataError
from agedetect_runtime.cores import usable_cores
from agedetect_runtime.detectorfile import detector_file
from agedetect_runtime.finding import CutFaces, cut_faces
from agedetect_runtime.listing import Omitted, is_folder, list_images
from agedetect_runtime.names import name_text
from agedetect_runtime.partfile import in_one_line
from agedetect_runtime.pipeline import stream
from agedetect_runtime.remedies import nothing_worked
from agedetect_runtime.table import printable
from agedetect_runtime.terminal import is_terminal
from agedetect_runtime.yunet import YuNet

_PHOTO_SECONDS = 30.0

Photo = tuple[Path, Label | LabelError | None]
Found = tuple[Photo, CutFaces | str]


@dataclass(frozen=True)
class Cropped:
    """How many photos were read, how many faces written, and how many photos gave none; files that are no photos."""

    photos: int
    faces: int
    not_found: int
    omitted: Omitted


def crop(
    photos: Path,
    out: Path,
    *,
    size: int = 200,
    suffix: str = "jpg",
    largest: bool = False,
    detector: Path | None = None,
) -> Cropped:
    """Cut the faces of a folder of photos, one photo or a CSV manifest into the new or empty folder `out`.

    It gets `chips/`, `faces.csv`, `not_found.csv` (photos without a face and why) and `contact_sheet.jpg`. For a
    manifest, `faces.csv` is one too: a photo's label is that of its largest face. Otherwise it says which face of which
    photo a file shows. If Ctrl-C or an error stops it, the tables list what was done. Raises DataError where there is
    nothing to read, where no face was found (`out` is empty then), and where `out` isn't empty or is in `photos`.
    """
    if not os.path.lexists(photos):
        raise DataError(nothing_worked(str(photos), "no such file", 1, listed=False))
    _check_out(out, photos)
    labelled = photos.suffix.lower() in SUFFIXES
    omitted = Omitted()
    listed = read_manifest(photos).rows if labelled else [(path, None) for path in _paths(photos, omitted)]
    if not listed:
        raise DataError(f"{photos.absolute()}: no photos there")
    yunet = YuNet.open(detector or detector_file())
    with in_one_line(str(out)):
        out.mkdir(parents=True, exist_ok=True)
    chips = ChipFolder(out, suffix, labelled=labelled)
    try:
        with _progress(_find(listed, yunet, size, largest or labelled), len(listed)) as found:
            for (path, label), cut in found:
                chips.add(path, label, cut)
    finally:
        chips.finish()
    if not chips.faces:
        raise DataError(_no_face(listed[0][0], chips.not_found[0][1], len(listed)))
    return Cropped(len(listed), len(chips.faces), len(chips.not_found), omitted)


def _check_out(out: Path, photos: Path) -> None:
    if is_folder(photos) and Path(os.path.realpath(out)).is_relative_to(os.path.realpath(photos)):
        raise DataError(f"{out}: is in {photos}, whose photos are read; choose a folder outside")
    with in_one_line(str(out)):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise DataError(f"{out.absolute()}: is there already and not empty; choose another folder")


def _no_face(first: Path, reason: str, photos: int) -> str:
    shown = f"{printable(name_text(str(first)))}: {reason}"
    if photos > 1:
        return f"none of {photos} photos has a face that could be cut out; {shown}"
    return f"{shown}; give a folder, a photo or a CSV manifest" if reason == "not an image" else shown


def _paths(photos: Path, omitted: Omitted) -> Iterable[Path]:
    return map(Path, list_images([str(photos)], None, omitted)[0]) if is_folder(photos) else [photos]


def _find(listed: Sequence[Photo], yunet: YuNet, size: int, largest: bool) -> Iterator[Found]:
    """In the order of the list, a few photos ahead on all cores."""

    def load(photo: Photo) -> CutFaces | str:
        path, label = photo
        return label.reason if isinstance(label, LabelError) else cut_faces(path, yunet, side=size, largest=largest)

    def pair(batch: Sequence[Photo], cut: Sequence[CutFaces | str]) -> list[Found]:
        return list(zip(batch, cut, strict=True))

    return stream(listed, load, pair, threads=usable_cores(), batch_size=1, image_seconds=_PHOTO_SECONDS)


@contextmanager
def _progress(found: Iterator[Found], photos: int) -> Iterator[Iterable[Found]]:
    if not is_terminal(sys.stderr):
        yield found
        return
    with click.progressbar(found, length=photos, label="Photos", file=sys.stderr, show_pos=True) as bar:
        yield bar
