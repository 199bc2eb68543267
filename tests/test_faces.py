"""Reading faces: names, folders, archives, manifests, and what is skipped with which reason."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from agedetect.data.faces import Face, FaceSet, Skipped, read_faces, require_few_skipped
from agedetect.data.labels import Label, LabelError, label_of_name
from agedetect.data.manifest import read_manifest
from agedetect.errors import DataError
from agedetect_runtime.errors import AgedetectError
from agedetect_runtime.listing import list_images
from tiny_images import noise, save_noise

GOOD = "25_1_3_20170116220224657.jpg"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("25_1_3_20170116220224657.jpg.chip.jpg", Label(25, "female", "Indian")),
        ("1_0_0_20170116220224657.jpg", Label(1, "male", "White")),
        ("116_0_4_20170116220224657.png", Label(116, "male", "Other")),
        ("24_0_1_20170116220224657 .jpg.chip.jpg", Label(24, "male", "Black")),
        ("55_0_2_20170116232725357jpg.chip.jpg", Label(55, "male", "Asian")),
        ("0_1_0_1.jpg", Label(0, "female", "White")),
        ("116_1_0_1_copy.jpg", Label(116, "female", "White")),
        ("39_1_20170116174525125.jpg.chip.jpg", Label(39, None, None)),
        ("61_3_20170109150557335.jpg.chip.jpg", Label(61, None, None)),
    ],
)
def test_a_utkface_name_gives_its_label(name: str, label: Label) -> None:
    assert label_of_name(name) == label


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("117_0_0_20170116220224657.jpg", "age '117' is not from 0 to 116 years"),
        ("25_2_0_20170116220224657.jpg", "gender '2' is none of 0 male, 1 female"),
        ("25_1_5_20170116220224657.jpg", "race '5' is none of 0 White, 1 Black, 2 Asian, 3 Indian, 4 Other"),
        ("-5_0_0_20170116220224657.jpg", "its name is not [age]_[gender]_[race]_[datetime]"),
        ("53__0_20170116184028385.jpg", "its name is not [age]_[gender]_[race]_[datetime]"),
        ("portrait.jpg", "its name is not [age]_[gender]_[race]_[datetime]"),
        ("25_1_0.jpg", "its name is not [age]_[gender]_[race]_[datetime]"),
    ],
)
def test_a_malformed_name_gives_its_reason(name: str, reason: str) -> None:
    assert label_of_name(name) == LabelError(reason)


def names(face_set: FaceSet) -> list[str]:
    return [face.path.name for face in face_set.faces]


@pytest.mark.parametrize("inside", ["", "UTKFace", "a/b/c"])
def test_a_folder_is_read_flat_or_nested(tmp_path: Path, inside: str) -> None:
    path = save_noise(tmp_path / inside / GOOD, 1, (12, 9))
    face_set = read_faces(tmp_path)
    digest = face_set.faces[0].digest
    assert face_set == FaceSet((Face(path, 25, "female", "Indian", digest, (12, 9)),), (), str(tmp_path))
    assert len(digest) == 32


def test_a_relative_folder_gives_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_noise(tmp_path / "faces" / GOOD, 1)
    monkeypatch.chdir(tmp_path)
    assert read_faces(Path("faces")).faces[0].path == tmp_path / "faces" / GOOD


def test_hidden_files_and_other_kinds_of_file_are_passed_over(tmp_path: Path) -> None:
    for name in (GOOD, f"._{GOOD}", f".cache/{GOOD}"):
        save_noise(tmp_path / name, 1)
    (tmp_path / "readme.txt").write_text("faces")
    face_set = read_faces(tmp_path)
    assert names(face_set) == [GOOD]
    assert face_set.skipped == ()


def test_the_result_is_sorted_whatever_the_number_of_threads(tmp_path: Path) -> None:
    for seed in range(150):
        save_noise(tmp_path / f"{seed % 7}" / f"{seed % 90}_0_0_{seed:017}.png", seed)
    one, five = read_faces(tmp_path, threads=1), read_faces(tmp_path, threads=5)
    assert one == five
    assert len(one.faces) == 150
    assert [face.path for face in one.faces] == sorted(face.path for face in one.faces)


def test_the_digest_is_of_upright_pixels_and_not_of_the_file(tmp_path: Path) -> None:
    image = noise(1, (12, 9))
    image.save(tmp_path / "20_0_0_1.png")
    image.save(tmp_path / "20_0_0_2.bmp")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "20_0_0_3.png", exif=exif)
    image.save(tmp_path / "20_0_0_4.jpg", comment=b"one")
    image.save(tmp_path / "20_0_0_5.jpg", comment=b"another")
    digests = [face.digest for face in read_faces(tmp_path).faces]
    assert digests[0] == digests[1] == digests[2]
    assert digests[3] == digests[4] != digests[0]


def test_the_digest_tells_sizes_of_equal_bytes_apart(tmp_path: Path) -> None:
    for number, size in enumerate([(6, 4), (4, 6)]):
        Image.new("RGB", size, "grey").save(tmp_path / f"20_0_0_{number}.png")
    first, second = read_faces(tmp_path).faces
    assert first.digest != second.digest


def test_what_cannot_be_used_is_skipped_with_its_reason(tmp_path: Path) -> None:
    save_noise(tmp_path / GOOD, 1)
    save_noise(tmp_path / "portrait.png", 2)
    whole = save_noise(tmp_path / "30_0_0_1.jpg", 3, (64, 64)).read_bytes()
    (tmp_path / "30_0_0_1.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "31_0_0_1.jpg").write_bytes(b"")
    (tmp_path / "32_0_0_1.jpg").write_text("not an image")
    (tmp_path / "33_0_0_1.jpg").symlink_to(tmp_path / "gone.jpg")
    os.mkfifo(tmp_path / "34_0_0_1.jpg")
    face_set = read_faces(tmp_path)
    assert names(face_set) == [GOOD]
    assert [(item.path.name, item.kind) for item in face_set.skipped] == [
        ("30_0_0_1.jpg", "image"),
        ("31_0_0_1.jpg", "image"),
        ("32_0_0_1.jpg", "image"),
        ("33_0_0_1.jpg", "image"),
        ("34_0_0_1.jpg", "image"),
        ("portrait.png", "label"),
    ]
    reasons = [item.reason for item in face_set.skipped]
    assert reasons[0] == "truncated"
    assert all(reasons)


@pytest.mark.parametrize("name", ["UTKFace.tar.gz", "UTKFace.zip"])
def test_an_archive_gives_the_same_faces_as_its_folder(tmp_path: Path, name: str) -> None:
    for seed in range(5):
        save_noise(tmp_path / "UTKFace" / f"{seed}_0_0_{seed}.png", seed)
    archive = tmp_path / name
    if name.endswith("zip"):
        with zipfile.ZipFile(archive, "w") as zipped:
            for path in (tmp_path / "UTKFace").iterdir():
                zipped.write(path, f"UTKFace/{path.name}")
    else:
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(tmp_path / "UTKFace", "UTKFace")
    packed = read_faces(archive, cache_dir=tmp_path / "cache")
    folder = read_faces(tmp_path / "UTKFace")
    assert [(f.path.name, f.age, f.digest) for f in packed.faces] == [
        (f.path.name, f.age, f.digest) for f in folder.faces
    ]
    assert packed.source == str(archive)


def test_a_folder_that_holds_only_the_archive_stands_for_it(tmp_path: Path) -> None:
    path = save_noise(tmp_path / GOOD, 1)
    data = tmp_path / "UTKFace_data"
    data.mkdir()
    with zipfile.ZipFile(data / "UTKFace.zip", "w") as zipped:
        zipped.write(path, GOOD)
    assert names(read_faces(data, cache_dir=tmp_path / "cache")) == [GOOD]


def manifest(folder: Path, text: str) -> Path:
    for seed, name in enumerate(["a.png", "b.png", "c.png"]):
        save_noise(folder / "pictures" / name, seed)
    path = folder / "faces.csv"
    path.write_text(text, encoding="utf-8-sig")
    return path


def test_a_manifest_gives_ages_and_groups(tmp_path: Path) -> None:
    text = (
        f"path,age,gender,race\npictures/a.png,24.5,1,Asian\npictures/b.png,30,male,\n{tmp_path}/pictures/c.png,0,,4\n"
    )
    face_set = read_faces(manifest(tmp_path, text))
    assert face_set.skipped == ()
    assert [(face.path, face.age, face.gender, face.race) for face in face_set.faces] == [
        (tmp_path / "pictures/a.png", 24.5, "female", "Asian"),
        (tmp_path / "pictures/b.png", 30, "male", None),
        (tmp_path / "pictures/c.png", 0, None, "Other"),
    ]


def test_a_manifest_needs_no_groups(tmp_path: Path) -> None:
    face = read_faces(manifest(tmp_path, "age,path\n7,pictures/a.png\n")).faces[0]
    assert (face.age, face.gender, face.race) == (7, None, None)


@pytest.mark.parametrize(
    ("row", "reason", "kind"),
    [
        ("pictures/b.png,old,,", "line 3: age 'old' is not from 0 to 116 years", "label"),
        ("pictures/b.png,nan,,", "line 3: age 'nan' is not from 0 to 116 years", "label"),
        ("pictures/b.png,-1,,", "line 3: age '-1' is not from 0 to 116 years", "label"),
        ("pictures/b.png", "line 3: age '' is not from 0 to 116 years", "label"),
        ("pictures/b.png,5,x,", "line 3: gender 'x' is none of 0 male, 1 female", "label"),
        ("pictures/b.png,5,,,6", "line 3: more cells than the header has", "label"),
        ("pictures/b.png,60+,,", "line 3: age '60+' is not from 0 to 116 years", "label"),
        ("pictures/b.png,30-20,,", "line 3: age '30-20' is not from 0 to 116 years", "label"),
        ("pictures/b.png,118,,", "line 3: age '118' is not from 0 to 116 years", "label"),
        (",6,,", "line 3: no path", "label"),
        ("pictures/none.png,6,,", "no such file", "image"),
        ("pictures,6,,", "is a folder", "image"),
    ],
)
def test_a_bad_row_is_skipped_with_its_line(tmp_path: Path, row: str, reason: str, kind: str) -> None:
    face_set = read_faces(manifest(tmp_path, f"path,age,gender,race\npictures/a.png,5,,\n{row}\n"))
    assert names(face_set) == ["a.png"]
    assert [(item.reason, item.kind) for item in face_set.skipped] == [(reason, kind)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file_name,real_age\npictures/a.png,5\n",
            "no column path and no column age; it has file_name, real_age: name",
        ),
        ("path,gender\npictures/a.png,1\n", "no column age; it has path, gender: name"),
        ("path,age,Age\npictures/a.png,1,2\n", "the column age is there twice"),
        ("", "no column path and no column age: name"),
        ('path,age\n"pictures/a.png,5\n', "can't be read as CSV"),
    ],
)
def test_a_bad_manifest_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_faces(manifest(tmp_path, text))
    assert str(tmp_path / "faces.csv") in str(caught.value)


def test_a_manifest_that_is_no_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for name, reason in (("none.csv", "no such file or directory"), ("folder.csv", "is a folder")):
        with pytest.raises(DataError, match=rf"^{tmp_path / name}: {reason}; give a CSV file"):
            read_manifest(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("path;age;gender\npictures/a.png;24,5;F\n", "utf-8-sig"),
        ("sep=;\r\nPath ; AGE;Gender\r\n pictures/a.png ; 24,5; f\r\n", "utf-8"),
        ("path\tage\tgender\npictures/a.png\t24.5\tfemale\n", "utf-16"),
        ("path|age|gender\npictures/a.png|24.5|1\n", "utf-8"),
        ('name,gender,path,age\n"Doe, Jane",F,pictures\\a.png,"24,5"\n\n', "utf-8"),
        ('path,age,gender\npictures/a.png,"(24, 25)",F\n', "utf-8"),
        ("path,age,gender\npictures/a.png,20-29,F\npictures/a.png,24.5,F\n", "utf-8"),
        ("path,age,gender\npictures/a.png,24,F\npictures/a.png,25,F\n", "utf-8"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".TSV"])
def test_a_manifest_is_read_as_spreadsheets_and_data_sets_write_it(
    tmp_path: Path, text: str, encoding: str, suffix: str
) -> None:
    file = manifest(tmp_path, "").with_suffix(suffix)
    file.write_bytes(text.encode(encoding))
    faces = read_faces(file).faces
    assert [(face.path.name, face.age, face.gender) for face in faces] == [("a.png", 24.5, "female")]


def test_a_manifest_says_what_was_a_choice(tmp_path: Path) -> None:
    rows = ["path,age,name", "pictures/a.png,20-29,x", 'pictures/b.png,"[0, 2]",y']
    rows += [f"pictures/c.png,{age},z" for age in (4, 6, 6)]
    face_set = read_faces(manifest(tmp_path, "\n".join(rows)))
    assert [face.age for face in face_set.faces] == [24.5, 1, pytest.approx(16 / 3)]
    assert face_set.notes == (
        "ages that are ranges: 2 (the middle of each was taken)",
        "paths with more than one age: 1 (their mean was taken)",
        "columns ignored: 'name'",
    )


def test_rows_that_disagree_on_the_group_leave_it_unknown(tmp_path: Path) -> None:
    text = "path,age,gender,race\npictures/a.png,20,M,Asian\npictures/a.png,20,F,Asian\n"
    face_set = read_faces(manifest(tmp_path, text))
    assert [(face.age, face.gender, face.race) for face in face_set.faces] == [(20, None, "Asian")]
    assert face_set.notes == ()


def test_a_workbook_says_how_to_save_it(tmp_path: Path) -> None:
    (tmp_path / "faces.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match="save the sheet as 'CSV UTF-8'"):
        read_faces(tmp_path / "faces.xlsx")


def test_a_manifest_of_nothing_usable_is_not_told_to_download_utkface(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"all 1 files were skipped \('a.png': line 2: age '118'") as caught:
        read_faces(manifest(tmp_path, "path,age\npictures/a.png,118\n"))
    assert "UTKFace" not in str(caught.value)


def test_a_manifest_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "faces.csv").write_bytes(b"path,age\nJos\xe9.jpg,5\n")
    with pytest.raises(DataError, match="UTF-8"):
        read_faces(tmp_path / "faces.csv")


def test_nothing_there_says_where_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    for place in ("UTKFace_data", "empty", "notes.txt"):
        with pytest.raises(DataError) as caught:
            read_faces(Path(place))
        message = str(caught.value)
        assert message.startswith(str(tmp_path / place))
        assert "--data-dir" in message
        assert "agedetect draw" in message
        assert "\n" not in message


def test_a_folder_of_nothing_usable_says_why(tmp_path: Path) -> None:
    save_noise(tmp_path / "portrait.png", 1)
    with pytest.raises(DataError, match=r"all 1 files were skipped \('portrait.png': its name"):
        read_faces(tmp_path)


def test_a_folder_that_cannot_be_listed_is_no_silent_loss(tmp_path: Path) -> None:
    save_noise(tmp_path / GOOD, 1)
    step = "d" * 250
    handle = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):  # deeper than the system's limit on a path: listing it fails, for root too
        os.mkdir(step, dir_fd=handle)
        deeper = os.open(step, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = deeper
    os.close(handle)
    with pytest.raises(AgedetectError, match="cannot be read"):
        read_faces(tmp_path)


def skipping(count: int, total: int) -> FaceSet:
    face = Face(Path("/f/a.jpg"), 20, None, None, "0" * 32, (8, 8))
    skipped = tuple(Skipped(Path(f"/f/{number}.jpg"), "truncated", "image") for number in range(count))
    return FaceSet((face,) * (total - count), skipped, "/f")


def test_one_in_a_hundred_may_be_skipped() -> None:
    require_few_skipped(skipping(0, 10))
    require_few_skipped(skipping(1, 100))
    with pytest.raises(DataError, match="2 of 199 files were skipped") as caught:
        require_few_skipped(skipping(2, 199))
    assert "'0.jpg': truncated; '1.jpg': truncated" in str(caught.value)


def test_the_option_named_in_the_refusal_is_enough() -> None:
    face_set = skipping(7, 100)
    with pytest.raises(DataError, match=r"and 4 more.*--max-skipped 0\.08") as caught:
        require_few_skipped(face_set)
    assert "\n" not in str(caught.value)
    require_few_skipped(face_set, 0.08)


def test_what_macos_leaves_beside_an_archive_is_none(tmp_path: Path) -> None:
    path = save_noise(tmp_path / GOOD, 1)
    data = tmp_path / "UTKFace_data"
    data.mkdir()
    (data / "._UTKFace.zip").write_bytes(b"attributes")
    with zipfile.ZipFile(data / "UTKFace.zip", "w") as zipped:
        zipped.write(path, GOOD)
    assert names(read_faces(data, cache_dir=tmp_path / "cache")) == [GOOD]


def test_a_linked_folder_is_read_once_and_a_link_loop_ends(tmp_path: Path) -> None:
    real, data = tmp_path / "real", tmp_path / "UTKFace_data"
    real.mkdir()
    data.mkdir()
    save_noise(real / GOOD, 1)
    (data / "UTKFace").symlink_to(real)
    (data / "again").symlink_to(real)
    (real / "loop").symlink_to(data)
    assert len(read_faces(data).faces) == 1


def test_training_and_inference_see_the_same_files(tmp_path: Path) -> None:
    for number, suffix in enumerate((".jpg", ".jfif", ".PNG", ".webp", ".txt", "")):
        save_noise(tmp_path / "noise.png", number)
        (tmp_path / "noise.png").rename(tmp_path / f"20_0_0_2017010900000000{number}{suffix}")
    seen = read_faces(tmp_path)
    listed, _ = list_images([str(tmp_path)], io.BytesIO())
    paths = [face.path for face in seen.faces] + [skipped.path for skipped in seen.skipped]
    assert sorted(map(str, paths)) == list(listed)
    assert len(seen.faces) == 4


def test_a_picture_beside_the_archive_does_not_hide_it(tmp_path: Path) -> None:
    data = tmp_path / "UTKFace_data"
    data.mkdir()
    save_noise(tmp_path / GOOD, 1)
    with zipfile.ZipFile(data / "UTKFace.zip", "w") as archive:
        archive.write(tmp_path / GOOD, GOOD)
    save_noise(data / "preview.png", 2)
    seen = read_faces(data, cache_dir=tmp_path / "cache")
    assert [face.age for face in seen.faces] == [float(GOOD.split("_")[0])]
    assert [item.path.name for item in seen.skipped] == ["preview.png"]


@pytest.mark.parametrize("age", ["2_5", "\u0662\u0665", "1e1", "inf", "nan"])
def test_an_age_is_written_in_plain_digits(tmp_path: Path, age: str) -> None:
    save_noise(tmp_path / "a.png", 1)
    save_noise(tmp_path / "b.png", 2)
    (tmp_path / "faces.csv").write_text(f"path,age\na.png,{age}\nb.png, 30.5 \n")
    seen = read_faces(tmp_path / "faces.csv")
    assert [face.age for face in seen.faces] == [30.5]
    assert "is not from 0 to 116 years" in seen.skipped[0].reason


def test_a_name_that_is_not_utf8_is_skipped_with_its_reason(tmp_path: Path) -> None:
    save_noise(tmp_path / GOOD, 1)
    save_noise(tmp_path / "odd.png", 2)
    os.rename(bytes(tmp_path / "odd.png"), bytes(tmp_path) + b"/20_0_0_20170109000000001\xff.png")  # noqa: PTH104
    seen = read_faces(tmp_path)
    assert len(seen.faces) == 1
    assert [item.reason for item in seen.skipped] == ["its name is not valid UTF-8: rename it"]
