"""A model file -> an ONNX Runtime session, set up as all of ours are."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

from agedetect_runtime import providers
from agedetect_runtime.contract import NOT_TEXT
from agedetect_runtime.errors import ModelError
from agedetect_runtime.forks import survive_forks
from agedetect_runtime.modelsource import ModelSource

_FOLDING_BYTES = 256 * 2**20  # what ONNX Runtime may compute while it opens a file, a constant each


def open_inference(
    runtime: ModuleType, source: ModelSource, wanted: list[str], threads: int = 1, *, any_shape: bool = False
) -> Any:
    """An ONNX Runtime session, one run of which has up to `threads` threads; with `any_shape`, each on another shape.

    Raises ModelError, beginning with the model's name, where ONNX Runtime refuses the file.
    """
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # its errors are raised as well, and its warnings are about graph optimisation
    # Known since ONNX Runtime 1.27, ignored before. Its own limit is 1 GB.
    options.add_session_config_entry("optimization.constant_folding_max_output_size_in_bytes", str(_FOLDING_BYTES))
    # Its own choice is a thread a core, tied to it, which spins while it waits: they would take the cores from
    # the threads that decode, and from everything else on the machine (docs/performance.md). Threads that share a
    # run may spin from one layer to the next, and must stop at its end.
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(threads > 1)))
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.enable_mem_pattern = not any_shape  # it keeps a plan of the memory for each shape that it has seen
    try:
        # With its fall-back ONNX Runtime would print, and continue on the CPU when CUDA fails.
        chosen = [providers.with_options(provider) for provider in wanted]
        model = source.for_onnx_runtime()
        return survive_forks(runtime.InferenceSession(model, options, providers=chosen, enable_fallback=0))
    except Exception as error:  # ONNX Runtime's exceptions have no base of their own
        reason = first_line(error)
        if isinstance(source.place, Path):
            reason = reason.replace(str(source.place), source.name)
        if type(error).__name__ == "InvalidProtobuf":
            reason = "not an ONNX file, or truncated"
        if isinstance(error, UnicodeDecodeError):
            reason = NOT_TEXT
        raise ModelError(f"{source.name}: {reason}; {source.remedy}") from error


def first_line(error: BaseException) -> str:
    """What ONNX Runtime says, without its "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : "."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error).strip())
    return text.splitlines()[0][:200] if text else type(error).__name__
