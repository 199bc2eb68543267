"""Faces cut out of one's own photos, aligned as UTKFace's are, to train and evaluate on."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
from PIL import Image

from agedetect.data.labels import Label, LabelError
from agedetect.data.manifest import SUFFIXES, read_manifest
from agedetect.errors import DataError
from agedetect_runtime.atomic import write_whole
from agedetect_runtime.cores import usable_cores
from agedetect_runtime.detectorfile import detector_file
from agedetect_runtime.finding import NO_FACE, CutFaces, cut_faces
from agedetect_runtime.listing import is_folder, walk_images
from agedetect_runtime.names import name_cell
from agedetect_runtime.pipeline import stream
from agedetect_runtime.terminal import is_terminal
from agedetect_runtime.yunet import YuNet

_PHOTO_SECONDS = 30.0
_JPEG_QUALITY = 95
_SHEET_FACES, _SHEET_COLUMNS, _SHEET_PIXELS = 400, 20, 80  # at most so many faces on the contact sheet

Photo = tuple[Path, Label | LabelError | None]
Found = tuple[Photo, CutFaces | str]


@dataclass(frozen=True)
class Cropped:
    """How many photos were read, how many faces written, and how many photos gave none."""

    photos: int
    faces: int
    not_found: int


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
    photo a file shows. Raises DataError where there is nothing to read or `out` is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out.absolute()}: is there already and not empty; choose another folder")
    labelled = photos.suffix.lower() in SUFFIXES
    listed = read_manifest(photos).rows if labelled else [(path, None) for path in _paths(photos)]
    if not listed:
        raise DataError(f"{photos.absolute()}: no photos there")
    yunet = YuNet.open(detector or detector_file())
    (out / "chips").mkdir(parents=True, exist_ok=True)
    faces: list[list[object]] = []
    missing: list[list[object]] = []
    with _progress(_find(listed, yunet, size, largest or labelled), len(listed)) as found:
        for number, ((path, label), cut) in enumerate(found, 1):
            if isinstance(cut, str) or not cut.faces:
                missing.append([name_cell(str(path)), cut if isinstance(cut, str) else NO_FACE])
                continue
            for index, name in enumerate(_write(cut, out, f"{number:06}_{path.stem}", suffix), 1):
                faces.append(
                    [name, *_labels(label)] if isinstance(label, Label) else [name, name_cell(str(path)), index]
                )
    heading = ["path", "age", "gender", "race"] if labelled else ["path", "photo", "face"]
    _write_table(out / "faces.csv", heading, faces)
    _write_table(out / "not_found.csv", ["path", "reason"], missing)
    _write_contact_sheet(out, [out / str(row[0]) for row in faces])
    return Cropped(len(listed), len(faces), len(missing))


def _paths(photos: Path) -> Iterable[Path]:
    return map(Path, walk_images(photos)) if is_folder(photos) else [photos]


def _find(listed: Sequence[Photo], yunet: YuNet, size: int, largest: bool) -> Iterator[Found]:
    """In the order of the list, a few photos ahead on all cores."""

    def load(photo: Photo) -> CutFaces | str:
        path, label = photo
        return label.reason if isinstance(label, LabelError) else cut_faces(path, yunet, side=size, largest=largest)

    def pair(batch: Sequence[Photo], cut: Sequence[CutFaces | str]) -> list[Found]:
        return list(zip(batch, cut, strict=True))

    return stream(listed, load, pair, threads=usable_cores(), batch_size=1, image_seconds=_PHOTO_SECONDS)


def _write(cut: CutFaces, out: Path, stem: str, suffix: str) -> Iterator[str]:
    """The paths of the files below `out`, the largest face's first."""
    for index, chip in enumerate(cut.chips, 1):
        name = f"chips/{stem}.{suffix}" if index == 1 else f"chips/{stem}_{index}.{suffix}"
        file = io.BytesIO()
        save = partial(Image.fromarray(chip).save, file)
        save("PNG") if suffix == "png" else save("JPEG", quality=_JPEG_QUALITY, subsampling=0)
        write_whole(out / name, file.getvalue())
        yield name


def _labels(label: Label) -> list[str]:
    return [f"{label.age:g}", label.gender or "", label.race or ""]


def _write_table(path: Path, heading: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([heading, *rows])
    write_whole(path, text.getvalue())


def _write_contact_sheet(out: Path, faces: Sequence[Path]) -> None:
    """All faces, or so many of them, evenly spaced."""
    step = max(1, -(-len(faces) // _SHEET_FACES))
    shown = faces[::step]
    rows = max(1, -(-len(shown) // _SHEET_COLUMNS))
    sheet = Image.new("RGB", (_SHEET_COLUMNS * _SHEET_PIXELS, rows * _SHEET_PIXELS))
    for index, path in enumerate(shown):
        with Image.open(path) as face:
            small = face.resize((_SHEET_PIXELS - 2,) * 2, Image.Resampling.BICUBIC)
        sheet.paste(small, (index % _SHEET_COLUMNS * _SHEET_PIXELS, index // _SHEET_COLUMNS * _SHEET_PIXELS))
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=90)
    write_whole(out / "contact_sheet.jpg", file.getvalue())


@contextmanager
def _progress(found: Iterator[Found], photos: int) -> Iterator[Iterable[Found]]:
    if not is_terminal(sys.stderr):
        yield found
        return
    with click.progressbar(found, length=photos, label="Photos", file=sys.stderr, show_pos=True) as bar:
        yield bar
