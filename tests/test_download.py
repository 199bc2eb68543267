"""The detector's download, from a server of our own: the right file, or one line and no file."""

from __future__ import annotations

import hashlib
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agedetect_runtime import detectorfile
from agedetect_runtime.detectorfile import YUNET, cache_folder, detector_file
from agedetect_runtime.download import KnownFile, fetch, is_whole
from agedetect_runtime.errors import AgedetectError

CONTENT = bytes(range(256)) * 1000


@dataclass
class Server:
    """Serves `content` at `url`; `promised` is the length that it announces."""

    url: str
    content: bytes = CONTENT
    promised: int | None = len(CONTENT)
    status: int = 200
    requests: list[str] = field(default_factory=list)

    @property
    def file(self) -> KnownFile:
        return KnownFile(self.url, hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.requests.append(self.path)
            self.send_response(served.status)
            if served.promised is not None:
                self.send_header("Content-Length", str(served.promised))
            self.end_headers()
            self.wfile.write(served.content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        served = Server(f"http://127.0.0.1:{http.server_address[1]}/detector.onnx")
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield served
        http.shutdown()


def test_the_right_file_comes_whole_and_leaves_nothing_else(server: Server, tmp_path: Path) -> None:
    place = tmp_path / "new" / "detector.onnx"
    assert not is_whole(server.file, place)
    fetch(server.file, place)
    assert place.read_bytes() == CONTENT
    assert is_whole(server.file, place)
    assert [path.name for path in place.parent.iterdir()] == ["detector.onnx"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"content": CONTENT[:-1] + b"!"}, r"is not the file that is known: 256,000 bytes with SHA-256 [0-9a-f]{64}"),
        ({"content": b"<html>", "promised": 6}, r"is not the file that is known: 6 bytes with SHA-256 [0-9a-f]{64}"),
        ({"content": CONTENT[:1000]}, "the download was cut off"),
        ({"content": CONTENT[:1000], "promised": None}, "is not the file that is known: 1,000 bytes with SHA-256 .*"),
        ({"content": CONTENT * 9, "promised": 9 * len(CONTENT)}, "is not the file that is known: 256,001 bytes .*"),
        ({"status": 404}, "the server says 404"),
        ({"status": 500}, "the server says 500"),
    ],
)
def test_anything_else_is_one_line_that_says_what_to_put_where(
    server: Server, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    for name, value in change.items():
        setattr(server, name, value)
    place = tmp_path / "detector.onnx"
    place.write_bytes(b"an earlier one")
    with pytest.raises(AgedetectError, match=rf"^{server.url}: {words}; try again, or download it .* at {place}$"):
        fetch(server.file, place)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("detector.onnx", b"an earlier one")]


def test_no_network_is_one_line(tmp_path: Path) -> None:
    closed = KnownFile("http://127.0.0.1:9/detector.onnx", "", 1)  # the port "discard", where nobody listens
    place = tmp_path / "detector.onnx"
    with pytest.raises(AgedetectError, match=rf"^{closed.url}: no answer \(connection refused\); try again.* {place}$"):
        fetch(closed, place)
    assert list(tmp_path.iterdir()) == []


def test_our_detector_is_fetched_once_and_again_only_if_it_is_damaged(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detectorfile, "YUNET", server.file)
    monkeypatch.setenv("AGEDETECT_CACHE", str(tmp_path / "cache"))
    place = detector_file()
    assert place == tmp_path / "cache" / "yunet_n_dynamic.onnx"
    assert detector_file().read_bytes() == CONTENT
    assert len(server.requests) == 1
    place.write_bytes(CONTENT[:5000])  # as something else than us may leave it
    (tmp_path / "cache" / ".yunet_n_dynamic.onnx.0123abcd.part").write_bytes(CONTENT[:9])  # as a killed process does
    assert detector_file().read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_a_wrong_file_in_the_cache_is_named_where_the_right_one_cannot_be_had(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detectorfile, "YUNET", server.file)
    monkeypatch.setenv("AGEDETECT_CACHE", str(tmp_path))
    server.status = 500
    place = tmp_path / "yunet_n_dynamic.onnx"
    place.write_bytes(b"junk")
    found = f"SHA-256 {hashlib.sha256(b'junk').hexdigest()}, expected {server.file.sha256}; .*--detector FILE"
    with pytest.raises(AgedetectError, match=rf"put it at {place}; what is there now is not it: {found}"):
        detector_file()
    place.unlink()
    place.mkdir()
    with pytest.raises(AgedetectError, match="is not it: SHA-256 unknown, as it cannot be read, expected"):
        detector_file()


def test_a_cache_that_cannot_be_written_is_said_before_the_download(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detectorfile, "YUNET", server.file)
    (tmp_path / "file").touch()
    monkeypatch.setenv("AGEDETECT_CACHE", str(tmp_path / "file" / "cache"))
    place = tmp_path / "file" / "cache" / "yunet_n_dynamic.onnx"
    with pytest.raises(
        AgedetectError, match=rf"^{place}: cannot be written: .*; AGEDETECT_CACHE sets .*--detector FILE"
    ):
        detector_file()
    assert server.requests == []


def test_the_cache_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGEDETECT_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "agedetect"
    monkeypatch.setenv("AGEDETECT_CACHE", "somewhere")
    assert cache_folder() == Path.cwd() / "somewhere"


def test_the_address_names_a_commit_and_the_file_its_hash() -> None:
    assert YUNET.url.startswith("https://raw.githubusercontent.com/ShiqiYu/libfacedetection.train/0047ac24afb1a50a")
    assert (len(YUNET.sha256), YUNET.bytes) == (64, 322_906)


INFER = """
import sys
from agedetect_runtime import detectorfile
from agedetect_runtime.cli import main
from agedetect_runtime.download import KnownFile
detectorfile.YUNET = KnownFile(sys.argv[1], sys.argv[2], int(sys.argv[3]))
main(["face.png", "--find-faces", "--onnx", "none.onnx", *sys.argv[4:]])
"""


@pytest.mark.parametrize(("on_a_terminal", "options"), [(True, []), (False, []), (True, ["--quiet"])])
def test_progress_is_shown_on_a_terminal_alone_and_never_under_quiet(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_a_terminal: bool, options: list[str]
) -> None:
    monkeypatch.setenv("AGEDETECT_CACHE", str(tmp_path))
    ours, theirs = pty.openpty() if on_a_terminal else os.pipe()
    file = server.file
    call = [sys.executable, "-c", INFER, file.url, file.sha256, str(file.bytes), *options]
    try:
        subprocess.run(call, stderr=theirs, check=False, timeout=60)
    finally:
        os.close(theirs)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    os.close(ours)
    assert (tmp_path / "yunet_n_dynamic.onnx").read_bytes() == CONTENT
    *progress, last = shown.splitlines()
    assert last.startswith(b"Error: none.onnx: ")  # the model is opened after the detector is there
    is_shown = on_a_terminal and not options
    assert (b"Downloading yunet" in shown, b"100%" in shown, bool(progress)) == (is_shown,) * 3


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # how a terminal says that its other side is closed
        return b""
