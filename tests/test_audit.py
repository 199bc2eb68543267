"""The audit: each figure against a small set whose answers are known, and a page that a browser can read."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from agedetect.data.audit import Duplicates, OddSize, audit
from agedetect.data.faces import FaceSet, read_faces
from agedetect.reports.audit_text import format_audit
from agedetect.reports.write import write_audit
from tiny_images import save_noise

FIGURES = {"60x60": 7, "30x30": 1, "60x50": 1}


@pytest.fixture
def planted(tmp_path: Path) -> FaceSet:
    """Nine faces with one of each thing to find, and three files that give none."""
    folder = tmp_path / "faces"
    for name, seed, size in [
        ("5_0_0_1.png", 1, (60, 60)),
        ("25_0_0_1.png", 2, (60, 60)),
        ("25_1_2_2.png", 3, (60, 60)),
        ("29_1_2_3.png", 4, (60, 60)),
        ("29_1_2_4.png", 4, (60, 60)),
        ("33_0_0_5.png", 5, (60, 60)),
        ("35_0_0_5.png", 5, (60, 60)),
        ("40_1_4_6.png", 6, (30, 30)),
        ("61_1_20170109142408075.png", 7, (60, 50)),
        ("portrait.png", 8, (60, 60)),
    ]:
        save_noise(folder / "part" / name, seed, size)
    (folder / "part" / "9_0_0_1.jpg").write_bytes(b"")
    (folder / "10_0_0_1.jpg").write_text("<script>alert(1)</script>")
    return read_faces(folder)


def test_counts_and_ages(planted: FaceSet) -> None:
    result = audit(planted)
    assert (result.files, result.faces) == (12, 9)
    assert (result.youngest, result.oldest, result.median_age) == (5, 61, 29)
    assert result.mean_age == pytest.approx((5 + 25 + 25 + 29 + 29 + 33 + 35 + 40 + 61) / 9)
    assert result.ages == {5: 1, 25: 2, 29: 2, 33: 1, 35: 1, 40: 1, 61: 1}
    assert result.decades == {
        "0-9": 1,
        "10-19": 0,
        "20-29": 4,
        "30-39": 2,
        "40-49": 1,
        "50-59": 0,
        "60-69": 1,
    }


def test_groups_and_their_intersections(planted: FaceSet) -> None:
    result = audit(planted)
    assert result.genders == {"female": 4, "male": 4, "unknown": 1}
    assert result.races == {"White": 4, "Asian": 3, "Other": 1, "unknown": 1}
    assert result.intersections == {
        "male, White": 4,
        "female, Asian": 3,
        "female, Other": 1,
        "unknown, unknown": 1,
    }
    assert result.no_group == ("part/61_1_20170109142408075.png",)


def test_skipped_files_are_told_apart(planted: FaceSet) -> None:
    result = audit(planted)
    assert [name for name, _ in result.malformed] == ["part/portrait.png"]
    assert result.unreadable == (("10_0_0_1.jpg", "not an image"), ("part/9_0_0_1.jpg", "empty file"))


def test_duplicates_and_conflicts(planted: FaceSet) -> None:
    result = audit(planted)
    conflict = Duplicates(("part/33_0_0_5.png", "part/35_0_0_5.png"), (33, 35))
    assert result.duplicates == (conflict, Duplicates(("part/29_1_2_3.png", "part/29_1_2_4.png"), (29, 29)))
    assert result.conflicts == (conflict,)


def test_odd_sizes(planted: FaceSet) -> None:
    result = audit(planted)
    assert result.sizes == FIGURES
    assert result.odd_sizes == (
        OddSize("part/40_1_4_6.png", 30, 30, "under 48 px, not 60x60 as most are"),
        OddSize("part/61_1_20170109142408075.png", 60, 50, "not square, not 60x60 as most are"),
    )


def test_photos_of_all_sizes_have_no_usual_one(tmp_path: Path) -> None:
    for side in (50, 60, 70):
        save_noise(tmp_path / f"20_0_0_{side}.png", side, (side, side))
    assert audit(read_faces(tmp_path)).odd_sizes == ()


def test_a_set_without_groups_is_no_list_of_faults(tmp_path: Path) -> None:
    save_noise(tmp_path / "a.png", 1)
    (tmp_path / "faces.csv").write_text("path,age\na.png,24.5\n")
    face_set = read_faces(tmp_path / "faces.csv")
    result = audit(face_set)
    assert result.no_group == ()
    assert result.genders == {"unknown": 1}
    assert result.ages == {24: 1}
    assert "ages 24.5 to 24.5" in format_audit(result)
    write_audit(result, face_set, tmp_path / "out")
    assert (tmp_path / "out/audit.html").is_file()


def test_the_terminal_text_has_every_figure(planted: FaceSet) -> None:
    text = format_audit(audit(planted))
    for line in (
        "9 faces in 12 files, 3 skipped",
        "ages 5 to 61, mean 31.3, median 29",
        "    20-29       4 ########################################",
        "    30-39       2 ####################",
        "gender: female 4 (44.4%), male 4 (44.4%), unknown 1 (11.1%)",
        "1 names or rows without a label",
        "2 unreadable files",
        "2 images of unusual size",
        "2 groups of pixel-identical images, 4 files; 1 of them with different ages, 2 files",
        "  33, 35 years: part/33_0_0_5.png, part/35_0_0_5.png",
    ):
        assert line in text.splitlines()


def test_the_json_holds_everything(planted: FaceSet, tmp_path: Path) -> None:
    result = audit(planted)
    write_audit(result, planted, tmp_path / "out")
    read = json.loads((tmp_path / "out/audit.json").read_text())
    assert read["sizes"] == FIGURES
    assert read["ages"]["29"] == 2
    assert read["duplicates"][0] == {"paths": ["part/33_0_0_5.png", "part/35_0_0_5.png"], "ages": [33, 35]}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["audit.html", "audit.json"]


def test_the_page_is_well_formed_and_needs_nothing_else(planted: FaceSet, tmp_path: Path) -> None:
    written = write_audit(audit(planted), planted, tmp_path / "out")
    assert sorted(written) == sorted((tmp_path / "out").iterdir())
    page = ElementTree.parse(tmp_path / "out/audit.html")
    sources = [image.get("src") or "" for image in page.iter("img")]
    # Four duplicates, two images of odd size, one face without group (one of the odd ones again).
    assert len(sources) == 7
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert len(list(page.iter("rect"))) == 7
    titles = [" ".join((bar.findtext("title") or "").split()) for bar in page.iter("rect")]
    assert titles[:2] == ["5 years: 1", "25 years: 2"]
    assert "9 faces in 12 files, 3 skipped." in " ".join("".join(page.getroot().itertext()).split())
    text = (tmp_path / "out/audit.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!data:)""", text)
    assert "<script" not in text


def test_names_are_escaped_in_page_and_terminal(tmp_path: Path) -> None:
    hostile = '20_0_0_1<img src=x onerror="a()">&\x1b[31m\n'
    for ending in ("1.png", "2.png"):
        save_noise(tmp_path / "faces" / (hostile + ending), 1)
    face_set = read_faces(tmp_path / "faces")
    result = audit(face_set)
    write_audit(result, face_set, tmp_path / "out")
    page = ElementTree.parse(tmp_path / "out/audit.html")
    assert len(list(page.iter("img"))) == 4  # two duplicates, and as many under 48 px: none from the name
    captions = " ".join("".join(caption.itertext()) for caption in page.iter("figcaption"))
    assert r"onerror=\"a()\">&\x1b[31m\n1.png".replace('\\"', '"') in captions
    assert "\x1b" not in format_audit(result)
    assert json.loads((tmp_path / "out/audit.json").read_text())["duplicates"][0]["paths"][0] in {
        face.path.name for face in face_set.faces
    }


def test_the_page_stays_small_and_says_how_many_more(tmp_path: Path) -> None:
    for seed in range(70):
        for copy in range(2):
            save_noise(tmp_path / "faces" / f"{20 + copy}_0_0_{seed}.png", seed)
    face_set = read_faces(tmp_path / "faces")
    write_audit(audit(face_set), face_set, tmp_path / "out")
    page = (tmp_path / "out/audit.html").read_text()
    assert page.count('class="group"') == 60
    assert "and 10 more groups, in audit.json" in page
    assert "and 80 more files, in audit.json" in page  # 140 are under 48 px
    assert len(page) < 1_000_000
