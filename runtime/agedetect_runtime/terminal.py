"""What all our commands share: an error that a user can fix is one line, and Ctrl-C is quiet."""

from __future__ import annotations

import io
import logging
import math
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import click

from agedetect_runtime.errors import AgedetectError
from agedetect_runtime.installing import install_command

INTERRUPTED = 130  # 128 + SIGINT, as shells count
_LONGEST_END = 5.0  # seconds


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Inside a click command, also as a decorator: AgedetectError exits 1 with one line, Ctrl-C exits 130."""
    try:
        yield
    except AgedetectError as error:
        raise click.ClickException(" ".join(str(error).split())) from error
    except KeyboardInterrupt as interrupt:
        end_soon()
        raise click.exceptions.Exit(INTERRUPTED) from interrupt


def end_soon() -> None:
    """After Ctrl-C: the process ends within seconds, whatever still runs; a second Ctrl-C ends it at once.

    Python would wait for every thread of a pool, and so for a download from a server that doesn't answer.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end, daemon=True).start()


def _end() -> None:
    time.sleep(_LONGEST_END)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(INTERRUPTED)


class Quantity(click.FloatRange):
    """A float within its range; click's own lets nan pass, since every comparison with it is false."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not a number", param, ctx)
        return number


def is_terminal(stream: TextIO | None) -> bool:
    """A stream is None where it was closed before Python started, as some schedulers do."""
    return stream is not None and stream.isatty()


def print_any_text() -> None:
    """From here on standard output takes every character: UTF-8 in a pipe, \\-escapes on a terminal that lacks it."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        encoding = None if sys.stdout.isatty() else "utf-8"
        sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Pillow warns and logs about odd files on stderr; the reason why an image can't be used is in its row."""
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Inside a click command: a missing package exits 1 and names the extra that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "agedetect").partition(".")[0]
        if package.startswith("agedetect"):
            raise
        raise click.ClickException(
            f"{package} is not installed; this command needs: {install_command(extra)}"
        ) from error
