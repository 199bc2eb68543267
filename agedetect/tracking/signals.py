"""The signals that end a training run as Ctrl-C does."""

from __future__ import annotations

import signal


def stop_signals() -> list[signal.Signals]:
    """SIGTERM (`kill`) and SIGHUP (a closed terminal), which Windows lacks."""
    return [signal.Signals[name] for name in ("SIGTERM", "SIGHUP") if name in signal.Signals.__members__]
