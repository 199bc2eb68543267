"""Paths that lead to no file, or to one that can't be read; and names that are no trouble, and should be none."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

from malformed.outcomes import (
    SEEN,
    Kind,
    a_file,
    refused,
)
from malformed.pictures import (
    PICTURE,
    encoded,
)


def places() -> Iterator[Kind]:
    """Paths that lead to no file, or to one that can't be read."""
    photo = encoded(PICTURE, "PNG")

    def folder(path: Path) -> Path:
        path.mkdir()
        return path

    def dangling(path: Path) -> Path:
        path.symlink_to(path.with_name("gone.jpg"))
        return path

    def loop(path: Path) -> Path:
        path.symlink_to(path)
        return path

    def link(path: Path) -> Path:
        real = path.with_name(f"real {path.name}")
        real.write_bytes(photo)
        path.symlink_to(real)
        return path

    def pipe(path: Path) -> Path:
        os.mkfifo(path)
        return path

    def unix_socket(path: Path) -> Path:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path has 108 bytes at most
        try:
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(path.name)
        finally:
            os.chdir(here)
        return path

    def endless(path: Path) -> Path:
        path.symlink_to("/dev/zero")
        return path

    def closed_file(path: Path) -> Path:
        path.write_bytes(photo)
        path.chmod(0)
        return path

    def in_closed_folder(path: Path) -> Path:
        path.mkdir()
        (path / "a.png").write_bytes(photo)
        path.chmod(0)
        return path / "a.png"

    def below_a_file(path: Path) -> Path:
        path.write_bytes(photo)
        return path / "a.jpg"

    def missing(path: Path) -> Path:
        return path

    def too_long(path: Path) -> Path:
        return path.with_name("n" * 256)

    made = {
        "a folder": (folder, refused("is a folder")),
        "a link to nothing": (dangling, refused("no such file")),
        "a link to itself": (loop, refused("cannot be read: too many levels of symbolic links")),
        "a link to an image": (link, SEEN),
        "a FIFO": (pipe, refused("not a regular file")),
        "a socket": (unix_socket, refused("not a regular file")),
        "an endless device": (endless, refused("not a regular file")),
        "no permission": (closed_file, refused("cannot be read: permission denied")),
        "in a folder without permission": (in_closed_folder, refused("cannot be read: permission denied")),
        "below a file": (below_a_file, refused("cannot be read: not a directory")),
        "missing": (missing, refused("no such file")),
        "a name of 256 bytes": (too_long, refused("cannot be read: file name too long")),
    }
    for name, (make, outcome) in made.items():
        yield Kind("places", name, outcome, make)


def names() -> Iterator[Kind]:
    """Names that are no trouble to the file system, and should be none to anybody else."""
    photo = encoded(PICTURE, "PNG")
    named = {
        "line's end": b"a\nb.png",
        "return": b"a\rb.png",
        "tab": b"a\tb.png",
        "quotes": b"\"a\" 'b'.png",
        "comma": b"a,b.png",
        "backslashes": rb"a\xe9\n.png",
        "not UTF-8": b"caf\xe9.png",
        "250 characters": b"n" * 246 + b".png",
        "250 letters of two bytes": "é".encode() * 123 + b".png",
        "emoji and Chinese": "🙂顔.png".encode(),
        "right to left": "\u202egnp.exe\u202c.png".encode(),
        "escape sequence": b"\x1b[2J\x1b[31m.png",
        "spaces": b"  .png",
        "formula": b"=1+1.png",
        "option": b"--onnx.png",
        "percent": b"%s%n%00.png",
        "no suffix": b"face",
        "two suffixes": b"a.png.exe",
    }
    for label, name in named.items():

        def make(path: Path, name: bytes = name) -> Path:
            return a_file(photo)(path.parent / os.fsdecode(name))

        yield Kind("names", label, SEEN, make)
