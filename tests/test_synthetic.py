"""The drawn faces: the same every time, labelled as UTKFace is, and showing their age in each cue."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from agedetect.errors import DataError
from agedetect.synthetic.faces import contact_sheet, draw_face, draw_faces
from agedetect_runtime import AgedetectError

NAME = re.compile(r"(\d+)_([01])_([0-4])_(\d{17})\.jpg\.chip\.jpg")
CUE_AGES = np.linspace(1, 100, 200).round().astype(int)
# A correlation of n unrelated pairs stays under 3 / sqrt(n) with 99.7% probability: 0.24 for the 160 grown people,
# 0.39 for the 60 young ones.
CLEARLY = 0.4


def _labels(paths: list[Path]) -> NDArray[np.int64]:
    """(N, 3): age, gender, race, from the names."""
    return np.array([[int(part) for part in path.name.split("_")[:3]] for path in paths])


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return draw_faces(tmp_path_factory.mktemp("drawn") / "faces", 600)


@pytest.fixture(scope="module")
def growing_older() -> NDArray[np.float64]:
    """(200, 100, 100, 3): women of one group, from 1 to 100 years, each another person."""
    faces = [draw_face(int(age), 1, 2, np.random.default_rng(i), size=100) for i, age in enumerate(CUE_AGES)]
    return np.stack([np.asarray(face, dtype=np.float64) for face in faces])


def test_the_same_seed_draws_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first, again = draw_faces(tmp_path / "a", 5, seed=7), draw_faces(tmp_path / "b", 5, seed=7)
    other = draw_faces(tmp_path / "c", 5, seed=8)
    assert [p.name for p in first] == [p.name for p in again]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]
    assert not {p.read_bytes() for p in first} & {p.read_bytes() for p in other}


def test_a_face_does_not_depend_on_how_many_are_drawn(tmp_path: Path) -> None:
    few, more = draw_faces(tmp_path / "few", 3), draw_faces(tmp_path / "more", 8)
    assert [(p.name, p.read_bytes()) for p in few] == [(p.name, p.read_bytes()) for p in more[:3]]


def test_files_are_laid_out_and_named_as_utkface_is(many: list[Path]) -> None:
    matches = [NAME.fullmatch(path.name) for path in many]
    assert all(matches)
    assert len({match[4] for match in matches if match}) == 600
    assert sorted(many) == sorted(many[0].parent.iterdir())
    with Image.open(many[0]) as face:
        assert (face.format, face.mode, face.size) == ("JPEG", "RGB", (200, 200))


def test_ages_have_the_shape_of_utkface(many: list[Path]) -> None:
    ages = _labels(many)[:, 0]
    assert ages.min() == 1
    assert 85 < ages.max() <= 116
    assert 25 <= np.median(ages) <= 36
    children, prime, old = (ages <= 5).mean(), ((ages >= 20) & (ages < 40)).mean(), (ages >= 65).mean()
    assert 0.05 < children < 0.2
    assert 0.3 < prime < 0.5
    assert 0.05 < old < 0.25


def test_gender_and_race_tell_nothing_about_age(many: list[Path]) -> None:
    age, gender, race = _labels(many).T
    assert set(race) == set(range(5))
    assert 0.4 < gender.mean() < 0.6
    # |r| of 600 unrelated pairs stays under 3 / sqrt(600) = 0.12 with 99.7% probability; the seed is fixed
    for group in (gender, *(race == code for code in range(5))):
        assert abs(np.corrcoef(age, group)[0, 1]) < 0.12


def test_every_age_gender_and_race_can_be_drawn_at_any_size() -> None:
    for age, gender, race, size in ((1, 0, 0, 64), (116, 1, 1, 65), (50, 0, 2, 33), (30, 1, 3, 224), (80, 0, 4, 200)):
        face = draw_face(age, gender, race, np.random.default_rng(age), size=size)
        assert (face.mode, face.size) == ("RGB", (size, size))
        assert np.asarray(face).std() > 15


def test_the_same_person_looks_different_at_another_age() -> None:
    faces = [np.asarray(draw_face(age, 0, 0, np.random.default_rng(3)), dtype=float) for age in (1, 8, 25, 45, 70, 95)]
    for younger, older in pairwise(faces):
        assert np.abs(younger - older).mean() > 4


def test_hair_turns_grey(growing_older: NDArray[np.float64]) -> None:
    hair = growing_older[:, 5:13, 30:70].mean(axis=(1, 2, 3))
    grown = CUE_AGES >= 20
    assert np.corrcoef(CUE_AGES[grown], hair[grown])[0, 1] > CLEARLY


def test_skin_gets_lines_and_blotches(growing_older: NDArray[np.float64]) -> None:
    cheeks = growing_older[:, 44:66, 28:72].mean(axis=-1)
    edges = np.abs(np.diff(cheeks, axis=1)).mean(axis=(1, 2)) / cheeks.mean(axis=(1, 2))
    grown = CUE_AGES >= 20
    assert np.corrcoef(CUE_AGES[grown], edges[grown])[0, 1] > CLEARLY


def test_children_have_big_low_eyes_and_a_chin_close_below(growing_older: NDArray[np.float64]) -> None:
    dark = growing_older.min(axis=-1)
    young = CUE_AGES <= 30
    rows = np.arange(20, 55)
    eyes = np.clip(60 - dark[:, 20:55, 22:78], 0, None).sum(axis=2)  # irises are the darkest thing there
    height = (eyes * rows).sum(axis=1) / eyes.sum(axis=1)
    assert np.corrcoef(CUE_AGES[young], height[young])[0, 1] < -CLEARLY


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"already holds other files, such as 'holiday.jpg'"):
        draw_faces(tmp_path, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["holiday.jpg"]


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "faces").write_bytes(b"")
    with pytest.raises(DataError, match="can't be used as a folder"):
        draw_faces(tmp_path / "faces", 2)


def test_drawing_again_finishes_what_was_cut_short(tmp_path: Path) -> None:
    whole = draw_faces(tmp_path / "whole", 3)
    half = draw_faces(tmp_path / "half", 3)
    left = half[2].rename(half[2].with_name(f".{half[2].name}.0a1b.part"))
    left.write_bytes(b"\xff\xd8")
    draw_faces(tmp_path / "half", 3)
    assert [p.read_bytes() for p in sorted(half)] == [p.read_bytes() for p in sorted(whole)]
    assert sorted((tmp_path / "half").iterdir()) == sorted([*half, left])


def test_a_face_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    path = draw_faces(tmp_path / "faces", 1)[0]
    path.unlink()
    path.mkdir()
    with pytest.raises(AgedetectError, match="cannot be written: is a directory") as caught:
        draw_faces(tmp_path / "faces", 1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (-1, 0), (2, -1)])
def test_a_count_or_seed_that_makes_no_sense_is_refused(tmp_path: Path, count: int, seed: int) -> None:
    with pytest.raises(DataError, match=r"draw 1 or more|take 0"):
        draw_faces(tmp_path / "faces", count, seed)
    assert not (tmp_path / "faces").exists()


def test_the_contact_sheet_has_a_tile_for_each_age() -> None:
    sheet = np.asarray(contact_sheet((1, 30, 80), columns=2, tile=50))
    assert sheet.shape == (6 + 2 * (50 + 20 + 6), 6 + 2 * (50 + 6), 3)
    tiles = [sheet[y : y + 50, x : x + 50].std() for y in (6, 82) for x in (6, 62)]
    assert min(tiles[:3]) > 15
    assert tiles[3] == pytest.approx(np.std((250, 249, 246)))
