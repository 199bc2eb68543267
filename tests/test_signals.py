"""Which signals end a training run as Ctrl-C does."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from agedetect.cli import main


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def handler_of_hangup() -> object:
    CliRunner().invoke(main, ["train", "--data-dir", "nowhere"])
    return signal.getsignal(signal.SIGHUP)


def test_a_closed_terminal_ends_a_run_as_ctrl_c_does() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    assert handler_of_hangup() is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler


def test_nohup_still_means_what_it_says() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert handler_of_hangup() is signal.SIG_IGN
