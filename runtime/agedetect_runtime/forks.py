"""What a forked child process must not do: destroy the ONNX Runtime objects that it inherited from its parent.

Their threads live in the parent only. Destroying one joins those threads, which hangs the child or crashes it as it
exits, even a child that never ran a model.
"""

from __future__ import annotations

import ctypes
import os
from typing import TypeVar
from weakref import WeakSet

Owner = TypeVar("Owner")

_owners: WeakSet[object] = WeakSet()


def survive_forks(owner: Owner) -> Owner:
    """Register an object that holds memory or threads of ONNX Runtime: a forked child never destroys it."""
    _owners.add(owner)
    return owner


def _leak_inherited() -> None:
    for owner in _owners:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(owner))


if hasattr(os, "register_at_fork"):  # not on Windows, which doesn't fork
    os.register_at_fork(after_in_child=_leak_inherited)
