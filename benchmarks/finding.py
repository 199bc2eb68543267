"""What finding faces costs, how many it finds, and what it does to the ages. FACES are real: drawn ones are not found.

python -m benchmarks.finding speed MODEL FACES        photos and pictures a second, and their ratio to decoding alone

python -m benchmarks.finding found FACES              the share that is found, upright and turned, and the landmarks

python -m benchmarks.finding photos FACES             the share that is found in photos of 12 megapixels, by size

python -m benchmarks.finding ages MODEL MANIFEST      MAE of pictures as they are, and of the faces found in them
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np
from PIL import Image

from agedetect.data.labels import Label
from agedetect.data.manifest import read_manifest
from agedetect.evaluation.bootstrap import IntervalEstimate, mean_estimate, wilson
from agedetect_runtime import AgeEstimator, Finding, Result
from agedetect_runtime.alignment import Similarity
from agedetect_runtime.cores import usable_cores
from agedetect_runtime.detection import Face, find_faces
from agedetect_runtime.detectorfile import detector_file
from agedetect_runtime.images import open_rgb
from agedetect_runtime.listing import walk_images
from agedetect_runtime.photo import Photo
from agedetect_runtime.spec import UTKFACE_TEMPLATE
from agedetect_runtime.yunet import YuNet
from benchmarks.pasting import paste, paste_file
from benchmarks.rates import in_turns, on_threads, table

_PHOTOS = 8  # distinct ones of each kind
_KINDS = {"one face of 1,200 pixels": [1200], "four of 400": [400] * 4, "fifty of 120": [120] * 50}
_WIDTHS = (30, 40, 60, 80, 120, 250, 500, 1000, 2000)

_detector = click.option("--detector", type=click.Path(path_type=Path), help="A YuNet file; ours, if not given.")
_count = click.option("--count", type=click.IntRange(min=1), default=2000, help="Faces, a seeded sample.")
_faces = click.argument("faces", type=click.Path(path_type=str, exists=True))
_model = click.argument("model", type=click.Path(path_type=Path, exists=True))


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True}, help=__doc__)
def main() -> None:
    pass


@main.command()
@_model
@_faces
@_detector
@click.option("--rounds", type=click.IntRange(min=1), default=5)
@click.option("--folder", type=click.Path(path_type=Path), default=Path("bench"), help="Photos are kept here.")
def speed(model: Path, faces: str, detector: Path | None, rounds: int, folder: Path) -> None:
    estimator = AgeEstimator(model, device="cpu", detector=detector or detector_file())
    yunet, pictures = YuNet.open(detector or detector_file()), _sample(faces, 200)
    rows = []
    for name, widths in _KINDS.items():
        files = [paste_file(folder / "pasted", path, widths, yunet) for path in pictures[:_PHOTOS]]
        rows.append([f"12 megapixels, {name}", *_rates(estimator, [file for file in files if file] * 3, rounds)])
    rows.append(["the pictures themselves", *_rates(estimator, pictures, rounds)])
    heading = [
        "pictures",
        "decoded, 1/s",
        "found and aged, 1/s",
        "time (decoding = 1)",
        "core time of each, ms",
        "faces in each",
    ]
    click.echo(table(heading, rows), nl=False)


def _rates(estimator: AgeEstimator, files: Sequence[str], rounds: int) -> list[str]:
    start = time.process_time()
    faces = sum(len(finding.faces) for finding in estimator.find_many(files))
    core_ms = 1000 * (time.process_time() - start) / len(files)

    def decode(paths: Sequence[str]) -> int:
        return sum(open_rgb(path).width > 0 for path in paths)

    rates = in_turns(
        {
            "decode": lambda: on_threads(decode, files, usable_cores()),
            "find": lambda: sum(1 for _ in estimator.find_many(files)),
        },
        rounds,
    )
    ratio = rates["decode"] / rates["find"]
    return [
        f"{rates['decode']:.1f}",
        f"{rates['find']:.1f}",
        f"{ratio:.2f}",
        f"{core_ms:.1f}",
        f"{faces / len(files):.2f}",
    ]


@main.command()
@_faces
@_detector
@_count
def found(faces: str, detector: Path | None, count: int) -> None:
    yunet, paths = YuNet.open(detector or detector_file()), _sample(faces, count)
    rows = []
    for turn in (0, 15, 30, 45, 60, 90, 180):
        largest = [_largest(yunet, picture) for picture in _turned(paths, turn)]
        seen = [face for face in largest if face is not None]
        rows.append([str(turn), _share(len(seen), len(paths)), *_landmarks(seen)])
    heading = [
        "turned by, degrees",
        f"found, of {len(paths)} (95% interval)",
        "landmarks off the template by, % of a 200-pixel chip's side",
        "once aligned",
        "turned by, as aligned",
        "least and most",
    ]
    click.echo(table(heading, rows), nl=False)


def _landmarks(faces: Sequence[Face]) -> list[str]:
    """Medians, and the range of the last; the first is of use only for pictures that are chips of UTKFace."""
    template, off, aligned, turns = np.array(UTKFACE_TEMPLATE), [], [], []
    for face in faces:
        fit = Similarity.between(face.landmarks, template)
        off.append(np.linalg.norm(face.landmarks / 200 - template, axis=1).mean())
        aligned.append(np.linalg.norm(fit(face.landmarks) - template, axis=1).mean())
        turns.append(-math.degrees(math.atan2(fit.turn.imag, fit.turn.real)))
    return [
        f"{100 * np.median(off):.1f}",
        f"{100 * np.median(aligned):.1f}",
        f"{np.median(turns):.0f}",
        f"{min(turns):.0f} to {max(turns):.0f}",
    ]


@main.command()
@_faces
@_detector
@_count
def photos(faces: str, detector: Path | None, count: int) -> None:
    yunet, paths = YuNet.open(detector or detector_file()), _sample(faces, count)
    rows = []
    for width in _WIDTHS:
        hits = [hit for path in paths if (hit := _is_found_in_photo(yunet, path, width)) is not None]
        rows.append([str(width), _share(sum(hits), len(hits)), str(len(hits))])
    click.echo(table(["the face's width, pixels", "found (95% interval)", "n"], rows), nl=False)


def _is_found_in_photo(yunet: YuNet, path: str, width: int) -> bool | None:
    """Whether the largest face of the photo is where it was pasted; None where the picture itself shows none."""
    pasted = paste(path, [width], yunet)
    if pasted is None:
        return None
    face = _largest(yunet, pasted.photo)
    if face is None:
        return False
    middle = face.box.x + face.box.width / 2, face.box.y + face.box.height / 2
    return math.dist(middle, pasted.centres[0]) < width / 2


@main.command()
@_model
@click.argument("manifest", type=click.Path(path_type=Path, exists=True))
@_detector
@_count
@click.option("--turn", type=float, default=0, help="Degrees by which the pictures are turned clockwise.")
def ages(model: Path, manifest: Path, detector: Path | None, count: int, turn: float) -> None:
    estimator = AgeEstimator(model, device="cpu", detector=detector or detector_file())
    labelled = [(str(path), label.age) for path, label in read_manifest(manifest).rows if isinstance(label, Label)]
    labelled = random.Random(0).sample(labelled, min(count, len(labelled)))
    paths, truth = [path for path, _ in labelled], np.array([age for _, age in labelled])
    plain = np.array([_bounds(result) for result in estimator.predict_many(_turned(paths, turn))], float)
    findings = estimator.find_many(_turned(paths, turn), largest=True)
    aligned = np.array([_of_largest(finding) for finding in findings], float)
    seen = np.isfinite(aligned[:, 0])
    truth = truth[seen]
    rows, errors = [], []
    for name, (age, low, high) in (("as they are", plain[seen].T), ("with --find-faces", aligned[seen].T)):
        errors.append(np.abs(age - truth))
        covered = wilson(int(((low <= truth) & (truth <= high)).sum()), len(truth))
        rows.append([name, _years(errors[-1]), f"{(age - truth).mean():+.2f}", _figure(covered, 100, "%")])
    rows.append(["the difference, picture by picture", _years(errors[1] - errors[0]), "", ""])
    rows.append(["always the median of these ages", _years(np.abs(np.median(truth) - truth)), "", ""])
    heading = [
        f"pictures with a face, {seen.sum()} of {len(paths)}",
        "MAE, years (95%)",
        "bias, years",
        "coverage (95%)",
    ]
    click.echo(table(heading, rows), nl=False)


def _bounds(result: Result) -> tuple[float, float, float]:
    """Age, low and high; NaN where there is none."""
    if result.age is None:
        return math.nan, math.nan, math.nan
    low, high = (result.age if bound is None else bound for bound in (result.low, result.high))
    return result.age, low, high


def _of_largest(finding: Finding) -> tuple[float, float, float]:
    return next((_bounds(face.estimate) for face in finding.faces), (math.nan, math.nan, math.nan))


def _turned(paths: Sequence[str], degrees: float) -> Iterator[Image.Image]:
    """The pictures, clockwise, of the same size."""
    return (open_rgb(path).rotate(-degrees, Image.Resampling.BICUBIC) for path in paths)


def _sample(folder: str, count: int) -> list[str]:
    paths = list(walk_images(folder))
    return sorted(random.Random(0).sample(paths, min(count, len(paths))))


def _largest(yunet: YuNet, picture: Image.Image) -> Face | None:
    return next(iter(find_faces(Photo.open(picture), yunet)), None)


def _share(hits: int, count: int) -> str:
    return _figure(wilson(hits, count), 100, "%") if count else "-"


def _years(errors: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    return _figure(mean_estimate(errors), 1, "")


def _figure(estimate: IntervalEstimate, scale: int, unit: str) -> str:
    low, high = (math.nan if bound is None else scale * bound for bound in (estimate.low, estimate.high))
    return f"{scale * estimate.value:.2f}{unit} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.finding")
