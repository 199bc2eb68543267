"""Errors of training, tuning and serving. Each carries one line: the thing, its value, the remedy.

`explained` is the one place where the exceptions of other libraries, which the user can mend, become such a line.
"""

from __future__ import annotations

import errno
import re
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from agedetect_runtime import terminal
from agedetect_runtime.errors import AgedetectError


class DataError(AgedetectError):
    """The faces, the archive or the manifest cannot be used as they are."""


class WeightsError(AgedetectError):
    """Pretrained weights are missing, damaged or do not fit the network."""


class ConfigError(AgedetectError):
    """A setting of a run is unknown, out of range or contradicts another."""


class RunError(AgedetectError):
    """A recorded run is missing, unfinished or cannot be continued."""


class StoreError(AgedetectError):
    """The tracking server, its database or the artifact store is away, full, or refuses what is asked."""


class ResourceError(AgedetectError):
    """Memory, disk space, a temporary folder or another process, without which the work can't go on, is missing."""


# What stops the work from below: a pattern of "the exception's type, the system's error, its message", and what to do.
_STOPS = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), message)
    for pattern, message in (
        (r"^OutOfMemoryError|CUDA out of memory", "the GPU's memory is full: lower --batch-size or --image-size"),
        (
            r"bus error|unable to (allocate|write to|resize|open|mmap).*shared memory|torch_shm_manager",
            "/dev/shm, through which the workers give their images, is full: enlarge it (docker run --shm-size 1g), or "
            "give --workers 0",
        ),
        (
            r"^MemoryError|ENOMEM|DefaultCPUAllocator|bad_alloc|cannot allocate memory",
            "the machine's memory is full: lower --batch-size, --image-size or --workers",
        ),
        (
            r"DataLoader worker.*(killed by signal|exited unexpectedly)"
            r"|^(Connection\w+|EOFError|FileNotFoundError) .*in multiprocessing$",
            "a worker, a process that reads images, was killed, as a rule because the machine's memory was full: free "
            "some, or lower --workers",
        ),
        (
            r"DataLoader timed out",
            "no worker gave a batch of images for minutes: check the drive that holds the faces, or give --workers 0",
        ),
        (
            r"No usable temporary directory",
            "no folder for temporary files can be written: set TMPDIR to one with free space",
        ),
        (
            r"ENOSPC|EDQUOT|EFBIG|PytorchStreamWriter failed|inline_container|database or disk is full",
            "a disk is full{where}: free some space; TMPDIR, TORCH_HOME and HF_HOME move temporary files and downloads",
        ),
        (
            r"EROFS|EACCES|EPERM|readonly database",
            "no right to read or write{where}: choose another place, or mend its rights",
        ),
        (
            r"could not determine home directory",
            "there is no home directory: set HOME to a folder that can be written",
        ),
        (
            r"^Dist(Backend|Network|Store)Error|gloo|connection (closed|reset) by peer.*rank|NCCL",
            "another process of this training was lost, or can't be reached: look at its output; with "
            "--max-restarts, torchrun begins all of them again",
        ),
    )
)
_WORKER = re.compile(r"^Caught \w+ in DataLoader worker process")


def explain(error: BaseException) -> AgedetectError | None:
    """What another library's exception means to the user; None for a bug."""
    if isinstance(error, AgedetectError):
        return _from_worker(error)
    place = ""
    if any("multiprocessing" in frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)):
        place = " in multiprocessing"
        error = _killed(error)
    number = error.errno if isinstance(error, OSError) else None
    text = f"{type(error).__name__} {errno.errorcode.get(number or 0, '')} {error}{place}"
    name = getattr(error, "filename", None)
    for pattern, message in _STOPS:
        if pattern.search(text):
            return ResourceError(message.format(where=f" ({name})" if name else ""))
    return None


def _killed(error: BaseException) -> BaseException:
    """A worker that dies while it hands over a batch is first a lost connection, as a server that goes away is; the
    signal of its death, which torch raises wherever the program then is, follows in a moment: here."""
    try:
        time.sleep(0.2)
    except RuntimeError as killed:
        return killed
    return error


def _from_worker(error: AgedetectError) -> AgedetectError:
    """torch puts the traceback of a worker process into the message; ours is its last line."""
    if not _WORKER.match(str(error)):
        return error
    return type(error)(str(error).rstrip().rpartition("\n")[2].partition(": ")[2])


@contextmanager
def explained() -> Iterator[None]:
    """An exception of another library that the user can mend leaves as an AgedetectError, any other as it is."""
    try:
        yield
    except Exception as error:
        found = explain(error)
        if found is None or found is error:
            raise
        raise found from error


@contextmanager
def one_line_errors() -> Iterator[None]:
    """The runtime's, for commands that other libraries can stop."""
    with terminal.one_line_errors(), explained():
        yield
