"""The signals beside Ctrl-C that end a training run as Ctrl-C does."""

from __future__ import annotations

import signal


def stop_signals() -> list[signal.Signals]:
    """`kill`, and a terminal that was closed; Windows has no such one."""
    return [signal.Signals[name] for name in ("SIGTERM", "SIGHUP") if name in signal.Signals.__members__]
