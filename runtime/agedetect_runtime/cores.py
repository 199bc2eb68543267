"""How many cores this process may use, on a laptop, a shared machine or in a container, without any option."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # cgroup v2, as a container sees its own


def usable_cores() -> int:
    """The cores of this process's affinity, fewer where its container has a quota; at least 1."""
    linux = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if linux else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        cores = min(cores, cores_of_quota(_QUOTA.read_text()))
    return cores


def cores_of_quota(text: str) -> int:
    """`cpu.max`, "QUOTA PERIOD" in microseconds -> whole cores, rounded up. Raises ValueError for "max", no quota."""
    quota, period = map(int, text.split())
    return max(1, -(-quota // period))
