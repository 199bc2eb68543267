"""Folders are read in the order of paths, whatever their size, with memory for a bounded number of names."""

from __future__ import annotations

import io
import os
import resource
import tracemalloc
from pathlib import Path

import pytest

from agedetect_runtime import listing
from agedetect_runtime.errors import AgedetectError
from agedetect_runtime.listing import Omitted, list_images, walk_images

TREE = (
    "a.jpg",
    "a-b/c.jpg",
    "a/b.jpg",
    "a/b/c.jpg",
    "a.b/d.jpg",
    "a/z.png",
    "A.jpg",
    "é.jpg",
    "b/.hidden.jpg",
    "b/x.txt",
)


def plant(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize("at_once", [1, 2, 3, 1000])
def test_images_come_in_the_order_of_their_paths_however_few_names_are_sorted_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(listing, "_AT_ONCE", at_once)
    folder = str(plant(tmp_path, TREE))
    expected = sorted(f"{folder}/{name}" for name in TREE if not name.startswith("b/"))
    assert list(walk_images(folder)) == expected
    paths, total = list_images([folder, "one.jpg", folder], io.BytesIO())
    assert list(paths) == [*expected, "one.jpg", *expected]
    assert total == 2 * len(expected) + 1


def test_each_folder_is_read_once_whatever_links_lead_to_it(tmp_path: Path) -> None:
    plant(tmp_path, ("real/a.jpg", "real/deep/b.jpg"))
    (tmp_path / "real" / "deep" / "up").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "real")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    paths, total = list_images([str(tmp_path)], io.BytesIO())
    assert [Path(path).name for path in paths] == ["a.jpg", "b.jpg", "loop.jpg"]
    assert total == 3


def test_folders_as_deep_as_paths_can_be_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(1200):  # deeper than Python recurses
        Path("d").mkdir()
        os.chdir("d")
    Path("a.jpg").touch()
    deep = str(tmp_path) + "/d" * 1200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))  # fewer than the folders on the way
    try:
        paths, total = list_images([str(tmp_path)], None)
        assert ([*paths], total) == ([f"{deep}/a.jpg"], 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    Path("a.jpg").unlink()
    os.removedirs(deep)  # pytest's own cleaning recurses


def test_standard_input_is_read_as_its_paths_are_used() -> None:
    lines = io.BytesIO(b"a.jpg\n\nb.jpg\r\nc.jpg")
    paths, total = list_images(["x.jpg", "-"], lines)
    used = iter(paths)
    assert (next(used), lines.tell(), total) == ("x.jpg", 0, None)
    assert [*used] == ["a.jpg", "b.jpg", "c.jpg"]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_a_list_is_read_in_the_encoding_of_its_byte_order_mark(encoding: str, ending: str) -> None:
    names = ["a.jpg", "é ਊ 顔.jpg", "😀.png", *(f"{number}.jpg" for number in range(300))]  # ਊ is 0A 0A in UTF-16
    mark = "\ufeff" if encoding == "utf-16-be" else ""  # which only the others write by themselves
    for end in ("", ending):
        listed = (mark + ending.join([*names[:2], "", *names[2:]]) + end).encode(encoding)
        paths, _ = list_images(["-"], io.BytesIO(listed))
        assert [*paths] == names


def test_files_of_other_suffixes_are_counted_and_named_but_hidden_ones(tmp_path: Path) -> None:
    plant(tmp_path, ("a.jpg", "b.mov", "c/d.\n.txt", "c/.DS_Store", ".git/e.txt", "f.HEIC"))
    omitted = Omitted()
    paths, total = list_images([str(tmp_path), "typed.txt"], None, omitted)
    assert ([Path(path).name for path in paths], total) == (["a.jpg", "f.HEIC", "typed.txt"], 3)
    assert sorted(str(omitted).split("(")[1].split(")")[0].split(", ")) == [
        f"{tmp_path}/b.mov",
        f"{tmp_path}/c/d.\\n.txt",
    ]
    assert str(omitted).startswith("2 files omitted by suffix (")
    plant(tmp_path, ("g.mov", "h.mov"))
    list_images([str(tmp_path)], None, omitted := Omitted())
    assert (omitted.count, len(omitted.paths), str(omitted)[-6:]) == (4, 3, ", ...)")


class Failing(io.BytesIO):
    def readline(self, size: int | None = -1, /) -> bytes:
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize(
    ("stdin", "reason"),
    [
        (io.BytesIO(b"a.jpg\n" + b"b" * 9000), "not a list of paths, one per line"),
        (io.BytesIO(b"a.jpg\0b.jpg\0"), "not a list of paths, one per line"),
        (io.BytesIO("a.jpg\n".encode("utf-16") + b"\0"), "not a list of paths, one per line"),
        (io.BytesIO(("b" * 9000).encode("utf-16")), "not a list of paths, one per line"),
        (Failing(), "cannot be read: input/output error"),
    ],
    ids=["a line that is no path", "find -print0", "half a character", "a long line of UTF-16", "a broken device"],
)
def test_what_is_no_list_is_refused(stdin: io.BytesIO, reason: str) -> None:
    paths, _ = list_images(["-"], stdin)
    with pytest.raises(AgedetectError, match=reason):
        list(paths)


def test_a_closed_standard_input_is_refused() -> None:
    with pytest.raises(AgedetectError, match="standard input is closed"):
        list_images(["-"], None)


def test_a_folder_without_images_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(AgedetectError, match="no images in this folder or below"):
        list_images([str(plant(tmp_path, ("b/x.txt",)))], io.BytesIO())


def test_walking_a_large_folder_takes_memory_for_the_names_of_one_sorting_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3000):
        (tmp_path / f"{number:05}.jpg").touch()

    def peak(at_once: int) -> int:
        monkeypatch.setattr(listing, "_AT_ONCE", at_once)
        tracemalloc.start()
        paths, total = list_images([str(tmp_path)], io.BytesIO())
        assert sum(1 for _ in paths) == total == 3000
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(100) < peak(3000) / 5  # twice 100 names, and what Python needs besides
