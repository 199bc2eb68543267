"""A file is written whole or not at all, and nothing is left beside it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from agedetect_runtime.atomic import write_whole
from agedetect_runtime.errors import AgedetectError


def test_text_and_bytes_are_written_as_they_are_and_missing_folders_are_created(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    write_whole(path, "é\n\r\n" + os.fsdecode(b"caf\xe9.jpg"))
    assert path.read_bytes() == b"\xc3\xa9\n\r\ncaf\xe9.jpg"
    write_whole(path, b"\x00\xff\n")
    assert path.read_bytes() == b"\x00\xff\n"
    assert list(path.parent.iterdir()) == [path]


def test_a_new_file_has_the_permissions_that_the_umask_leaves(tmp_path: Path) -> None:
    write_whole(tmp_path / "ours", b"")
    (tmp_path / "plain").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_stays_a_link_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real/file")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "file").read_text() == "new"


def test_a_place_that_cannot_be_written_is_one_line_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for path, reason in {"folder": "is a directory", "file/below": "(not a directory|file exists)"}.items():
        with pytest.raises(AgedetectError, match=rf"^{tmp_path / path}: cannot be written: {reason}; .*another path$"):
            write_whole(tmp_path / path, "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


FULL = """
import sys
from pathlib import Path
from agedetect_runtime.atomic import write_whole
write_whole(Path(sys.argv[1]), "x" * 10_000)
"""


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    def leave_a_thousand_bytes() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    path = tmp_path / "file"
    path.write_text("old")
    call = [sys.executable, "-c", FULL, str(path)]
    done = subprocess.run(call, preexec_fn=leave_a_thousand_bytes, capture_output=True, text=True, check=False)
    assert "cannot be written: file too large; free some space" in done.stderr.splitlines()[-1]
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
