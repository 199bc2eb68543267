"""Archives: what must come out, what must never be written, and that nothing is left half done."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from agedetect.data.archives import default_cache, extract
from agedetect.data.unpack import Limits, unpack
from agedetect.errors import DataError
from tiny_images import png_bytes

Packer = Callable[[Path, Mapping[str, bytes]], Path]
FACES = {"UTKFace/1_0_0_20170101.png": png_bytes(1), "UTKFace/deeper/2_1_0_20170101.png": png_bytes(2)}


def pack_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def pack_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in files.items():
            zipped.writestr(name, data)
    return path


PACKERS = pytest.mark.parametrize(
    ("pack", "name"),
    [(pack_tar, "faces.tar.gz"), (pack_tar, "faces.tgz"), (pack_tar, "faces.tar"), (pack_zip, "faces.zip")],
)


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".agedetect-extracted"
    }


def assert_nothing_left(cache: Path) -> None:
    assert not cache.exists() or list(cache.iterdir()) == []


@PACKERS
def test_images_keep_their_folders_and_bytes(tmp_path: Path, pack: Packer, name: str) -> None:
    archive = pack(tmp_path / name, FACES)
    assert files_below(extract(archive, tmp_path / "cache")) == FACES


@PACKERS
def test_what_is_no_image_or_hidden_is_left_out(tmp_path: Path, pack: Packer, name: str) -> None:
    others = {"UTKFace/readme.txt": b"x", "UTKFace/._1_0_0_1.png": b"x", ".git/a.png": b"x", "run.sh": b"x"}
    archive = pack(tmp_path / name, {**others, **FACES})
    assert files_below(extract(archive, tmp_path / "cache")) == FACES


@PACKERS
def test_the_second_call_extracts_nothing(tmp_path: Path, pack: Packer, name: str) -> None:
    archive = pack(tmp_path / name, FACES)
    folder = extract(archive, tmp_path / "cache")
    before = {path: path.stat().st_ino for path in folder.rglob("*")}
    assert extract(archive.rename(tmp_path / f"moved-{name}"), tmp_path / "cache") == folder
    assert {path: path.stat().st_ino for path in folder.rglob("*")} == before


def test_a_folder_that_another_process_has_just_made_is_taken_and_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack_zip(tmp_path / "faces.zip", FACES)
    theirs: dict[Path, int] = {}

    def unpack_late(archive: Path, folder: Path, limits: Limits) -> int:
        monkeypatch.setattr("agedetect.data.archives.unpack", unpack)
        other = extract(archive, tmp_path / "cache")  # the other process, which was faster
        theirs.update({path: path.stat().st_ino for path in other.rglob("*")})
        return unpack(archive, folder, limits)

    monkeypatch.setattr("agedetect.data.archives.unpack", unpack_late)
    folder = extract(archive, tmp_path / "cache")
    assert theirs
    assert {path: path.stat().st_ino for path in folder.rglob("*")} == theirs
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_another_content_under_the_same_name_is_extracted_anew(tmp_path: Path) -> None:
    first = extract(pack_zip(tmp_path / "faces.zip", FACES), tmp_path / "cache")
    changed = {"1_0_0_20170101.png": png_bytes(3)}
    second = extract(pack_zip(tmp_path / "faces.zip", changed), tmp_path / "cache")
    assert first != second
    assert files_below(second) == changed


def test_a_cache_with_a_file_missing_is_made_whole(tmp_path: Path) -> None:
    archive = pack_tar(tmp_path / "faces.tar.gz", FACES)
    folder = extract(archive, tmp_path / "cache")
    (folder / "UTKFace/1_0_0_20170101.png").unlink()
    assert extract(archive, tmp_path / "cache") == folder
    assert files_below(folder) == FACES


def test_a_wrong_suffix_does_not_matter(tmp_path: Path) -> None:
    archive = pack_zip(tmp_path / "x.zip", FACES).rename(tmp_path / "x.tar.gz")
    assert files_below(extract(archive, tmp_path / "cache")) == FACES


@PACKERS
@pytest.mark.parametrize(
    "evil",
    ["../evil.png", "UTKFace/../../evil.png", "/tmp/evil.png", "..\\evil.png", "C:\\evil.png", "../evil.txt"],
)
def test_a_path_leading_outside_is_refused(tmp_path: Path, pack: Packer, name: str, evil: str) -> None:
    archive = pack(tmp_path / name, {**FACES, evil: b"evil"})
    with pytest.raises(DataError, match="leads outside"):
        extract(archive, tmp_path / "cache")
    assert_nothing_left(tmp_path / "cache")
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = tmp_path / "faces.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("1_0_0_20170101.png")
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(DataError, match="link or a device"):
        extract(archive, tmp_path / "cache")
    assert_nothing_left(tmp_path / "cache")


def test_a_symbolic_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("1_0_0_20170101.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as zipped:
        zipped.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="link or a device"):
        extract(tmp_path / "faces.zip", tmp_path / "cache")


def test_a_password_is_named(tmp_path: Path) -> None:
    archive = pack_zip(tmp_path / "faces.zip", {"a.png": b"x"})
    data = bytearray(archive.read_bytes())
    data[6] |= 1  # the flag in the local header, and in the directory at the end
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    with pytest.raises(DataError, match="password"):
        extract(archive, tmp_path / "cache")


@PACKERS
def test_bombs_are_stopped_by_the_total(tmp_path: Path, pack: Packer, name: str) -> None:
    archive = pack(tmp_path / name, {f"{index}.png": bytes(100_000) for index in range(20)})
    with pytest.raises(DataError, match="far more than its size"):
        extract(archive, tmp_path / "cache", limits=Limits(total_bytes=1_000_000))
    assert_nothing_left(tmp_path / "cache")


@pytest.mark.parametrize(("pack", "name"), [(pack_tar, "faces.tar.gz"), (pack_zip, "faces.zip")])
def test_bombs_are_stopped_by_the_ratio(tmp_path: Path, pack: Packer, name: str) -> None:
    archive = pack(tmp_path / name, {"a.png": bytes(10_000_000)})
    assert archive.stat().st_size * 50 < 1_000_000
    with pytest.raises(DataError, match="far more than its size"):
        extract(archive, tmp_path / "cache", limits=Limits(ratio_floor_bytes=1_000_000))
    extract(archive, tmp_path / "cache")  # below the default floor of 64 MiB a ratio says nothing


@PACKERS
def test_too_large_a_file_and_too_many_files_are_refused(tmp_path: Path, pack: Packer, name: str) -> None:
    archive = pack(tmp_path / name, {"a.png": bytes(2000), "b.png": b""})
    with pytest.raises(DataError, match=r"'a\.png' would be 2,000 bytes"):
        extract(archive, tmp_path / "cache", limits=Limits(file_bytes=1999))
    with pytest.raises(DataError, match="more than 1 entries"):
        extract(archive, tmp_path / "cache", limits=Limits(entries=1))
    assert_nothing_left(tmp_path / "cache")


@PACKERS
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.78])
def test_an_archive_cut_short_is_refused_in_one_line(tmp_path: Path, pack: Packer, name: str, share: float) -> None:
    archive = pack(tmp_path / name, {f"{seed}_0_0_20170101.png": png_bytes(seed) for seed in range(40)})
    data = archive.read_bytes()
    archive.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError, match="damaged or cut short") as caught:
        extract(archive, tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert str(archive) in str(caught.value)
    assert_nothing_left(tmp_path / "cache")


@pytest.mark.parametrize("name", ["faces.tar.gz", "faces.zip"])
def test_a_flipped_byte_is_found_by_the_checksum(tmp_path: Path, name: str) -> None:
    pack = pack_zip if name.endswith("zip") else pack_tar
    archive = pack(tmp_path / name, {"1_0_0_20170101.png": png_bytes(1) * 50})
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(DataError, match="damaged or cut short"):
        extract(archive, tmp_path / "cache")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("at", [0.1, 0.5])
def test_damage_to_bzip2_and_lzma_is_called_damage(tmp_path: Path, method: int, at: float) -> None:
    archive = tmp_path / "faces.zip"
    with zipfile.ZipFile(archive, "w", method) as zipped:
        zipped.writestr("1_0_0_20170101.png", png_bytes(1) * 50)
    data = bytearray(archive.read_bytes())
    start = int(at * len(data))
    data[start : start + 20] = b"\xff" * 20
    archive.write_bytes(data)
    with pytest.raises(DataError, match="damaged or cut short"):
        extract(archive, tmp_path / "cache")


@pytest.mark.parametrize("content", [b"", b"not an archive", b"\x1f\x8bnot gzip", b"PK not zip"])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "faces.tar.gz").write_bytes(content)
    with pytest.raises(DataError, match="damaged or cut short"):
        extract(tmp_path / "faces.tar.gz", tmp_path / "cache")


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    archive = pack_zip(tmp_path / "faces.zip", FACES)
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match="can't be unpacked into"):
        extract(archive, tmp_path / "cache")


def test_the_default_cache_is_chosen_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGEDETECT_CACHE", str(tmp_path / "chosen"))
    assert extract(pack_zip(tmp_path / "faces.zip", FACES)).parent == tmp_path / "chosen"
    monkeypatch.delenv("AGEDETECT_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "agedetect"
