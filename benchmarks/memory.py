"""The memory of `agedetect-infer` over a list that it can't hold: a thousand paths, and as many as asked for."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from benchmarks.rates import table

_FEW = 1000
_LINKS = 1000  # names a folder
# Linux's VmHWM: unlike getrusage's maximum it doesn't begin with the size of the process that started this one.
_COMMAND = """
import sys
from pathlib import Path
from agedetect_runtime.cli import main
try:
    main()
finally:
    print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0], file=sys.stderr)
"""


def report(model: Path, count: int) -> str:
    """Peak resident memory for a list of a thousand, a list of `count` without and with a page, and a folder of links.

    A model that takes no time keeps the wait short.
    """
    few = min(_FEW, count // 2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Image.effect_noise((32, 32), 40).convert("RGB").save(folder / "face.jpg")
        linked = _links(folder, count)
        measured = {
            f"a list of {few:,} paths": _run(model, folder, ["-"], few),
            f"a list of {count:,} paths": _run(model, folder, ["-"], count),
            "the same list, with --report": _run(model, folder, ["-", "--report", str(folder / "a.html")], count),
            f"a folder of {count:,} hard links": _run(model, folder, [str(linked)], count),
        }
    smallest = next(iter(measured.values()))[0]
    rows = [[name, f"{mib:.1f}", f"{mib / smallest:.2f}x", f"{rate:.0f}"] for name, (mib, rate) in measured.items()]
    return table(["", "peak MiB", "of the first", "images/s"], rows)


def _links(folder: Path, count: int) -> Path:
    """`count` images in folders of a thousand links each, since a file system allows some 65,000 links to one file."""
    linked = folder / "linked"
    linked.mkdir()
    for start in range(0, count, _LINKS):
        inside = linked / f"{start // _LINKS:05}"
        inside.mkdir()
        original = inside / "00000.jpg"
        original.write_bytes((folder / "face.jpg").read_bytes())
        for number in range(1, min(_LINKS, count - start)):
            (inside / f"{number:05}.jpg").hardlink_to(original)
    return linked


def _run(model: Path, folder: Path, arguments: Sequence[str], count: int) -> tuple[float, float]:
    """Peak resident memory of the process in MiB, and images per second."""
    options = ["--onnx", str(model), "--device", "cpu", "--output", str(folder / "ages.csv"), "--force"]
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", _COMMAND, *arguments, *options], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stderr
        if arguments[0] == "-":
            line = f"{folder / 'face.jpg'}\n".encode()
            for _ in range(count):
                process.stdin.write(line)
        process.stdin.close()
        told = process.stderr.read().decode()
    if process.returncode:
        raise RuntimeError(f"agedetect-infer ended with {process.returncode}: {told}")
    with (folder / "ages.csv").open() as file:
        written = sum(1 for _ in file) - 1
    if written != count:
        raise RuntimeError(f"{written} rows for {count} paths")
    return int(told.split()[-1]) / 1024, count / (time.perf_counter() - start)
