"""What a person must know about a set of faces before training on it."""

from __future__ import annotations

import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agedetect.data.faces import Face, FaceSet, Skipped
from agedetect.data.placement import Placement, placement
from agedetect_runtime.yunet import YuNet

UNKNOWN = "unknown"
TINY_PIXELS = 48


@dataclass(frozen=True)
class Duplicates:
    """Files with equal pixels; `ages` are theirs in the same order, in years."""

    paths: tuple[str, ...]
    ages: tuple[float, ...]

    @property
    def conflicting(self) -> bool:
        return len(set(self.ages)) > 1


@dataclass(frozen=True)
class OddSize:
    """An image whose size a person should look at, width and height in pixels."""

    path: str
    width: int
    height: int
    why: str


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The figures; ages in years, counts in files. Paths are relative to the folder that all files share.

    `ages` and `decades` are histograms whose keys are whole years and ranges such as "20-29"; `groups` are
    counts by gender, race and "gender, race", "unknown" standing for what isn't known. `no_group` lists the
    files without a group where others have one. `duplicates` lists conflicting ages first. `placement` is None where
    there was no detector to look at the faces with. `notes` are those of the FaceSet.
    """

    source: str
    files: int
    faces: int
    youngest: float
    oldest: float
    mean_age: float
    median_age: float
    ages: dict[int, int]
    decades: dict[str, int]
    genders: dict[str, int]
    races: dict[str, int]
    intersections: dict[str, int]
    no_group: tuple[str, ...]
    malformed: tuple[tuple[str, str], ...]
    unreadable: tuple[tuple[str, str], ...]
    duplicates: tuple[Duplicates, ...]
    sizes: dict[str, int]
    odd_sizes: tuple[OddSize, ...]
    placement: Placement | None = None
    notes: tuple[str, ...] = ()

    @property
    def conflicts(self) -> tuple[Duplicates, ...]:
        return tuple(group for group in self.duplicates if group.conflicting)


def audit(face_set: FaceSet, detector: YuNet | None = None) -> Audit:
    """Count and compare, reading no image again, and with a `detector` look at a sample of the faces.

    `face_set` holds one face at least, as read_faces gives it.
    """
    faces = face_set.faces
    root = shared_folder(face_set)
    ages = [face.age for face in faces]
    years = Counter(int(age) for age in ages)
    decades = Counter(int(age) // 10 * 10 for age in ages)
    sizes = Counter(face.size for face in faces)
    return Audit(
        source=face_set.source,
        files=len(faces) + len(face_set.skipped),
        faces=len(faces),
        youngest=min(ages),
        oldest=max(ages),
        mean_age=statistics.fmean(ages),
        median_age=statistics.median(ages),
        ages=dict(sorted(years.items())),
        decades={f"{low}-{low + 9}": decades[low] for low in range(min(decades), max(decades) + 1, 10)},
        genders=_counts(face.gender or UNKNOWN for face in faces),
        races=_counts(face.race or UNKNOWN for face in faces),
        intersections=_counts(f"{face.gender or UNKNOWN}, {face.race or UNKNOWN}" for face in faces),
        no_group=_without_group(faces, root),
        malformed=_reasons(face_set.skipped, "label", root),
        unreadable=_reasons(face_set.skipped, "image", root),
        duplicates=_copies(faces, root),
        sizes=_counts(f"{width}x{height}" for width, height in sizes.elements()),
        odd_sizes=_odd_sizes(faces, sizes, root),
        placement=None if detector is None else placement(faces, detector),
        notes=face_set.notes,
    )


def shared_folder(face_set: FaceSet) -> Path:
    """The folder that the paths of an Audit are relative to."""
    paths = [face.path for face in face_set.faces] + [item.path for item in face_set.skipped]
    return Path(os.path.commonpath([path.parent for path in paths]))


def _counts(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items(), key=lambda item: (-item[1], item[0])))


def _without_group(faces: tuple[Face, ...], root: Path) -> tuple[str, ...]:
    missing = [face for face in faces if face.gender is None or face.race is None]
    return tuple(_short(face.path, root) for face in missing) if len(missing) < len(faces) else ()


def _reasons(skipped: tuple[Skipped, ...], kind: str, root: Path) -> tuple[tuple[str, str], ...]:
    return tuple((_short(item.path, root), item.reason) for item in skipped if item.kind == kind)


def _copies(faces: tuple[Face, ...], root: Path) -> tuple[Duplicates, ...]:
    same: dict[str, list[Face]] = defaultdict(list)
    for face in faces:
        same[face.digest].append(face)
    groups = [
        Duplicates(tuple(_short(face.path, root) for face in group), tuple(face.age for face in group))
        for group in same.values()
        if len(group) > 1
    ]
    return tuple(sorted(groups, key=lambda group: (not group.conflicting, group.paths)))


def _odd_sizes(faces: tuple[Face, ...], sizes: Counter[tuple[int, int]], root: Path) -> tuple[OddSize, ...]:
    usual, count = sizes.most_common(1)[0]
    has_usual = 2 * count > len(faces)  # photos of all sizes have no usual one
    found = []
    for face in faces:
        width, height = face.size
        reasons = {
            f"under {TINY_PIXELS} px": min(width, height) < TINY_PIXELS,
            "not square": width != height,
            f"not {usual[0]}x{usual[1]} as most are": has_usual and face.size != usual,
        }
        if why := [reason for reason, holds in reasons.items() if holds]:
            found.append(OddSize(_short(face.path, root), width, height, ", ".join(why)))
    return tuple(found)


def _short(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
