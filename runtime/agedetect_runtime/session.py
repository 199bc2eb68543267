"""A model -> an ONNX Runtime session that is known to be ours and to run on the device it names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agedetect_runtime import providers
from agedetect_runtime.contract import NOT_TEXT, read_contract
from agedetect_runtime.device_buffer import DeviceBuffer
from agedetect_runtime.errors import ModelError, ProviderError
from agedetect_runtime.forks import survive_forks
from agedetect_runtime.modelfile import REMEDY
from agedetect_runtime.modelsource import Model, ModelSource
from agedetect_runtime.spec import ModelSpec

_FOLDING_BYTES = 256 * 2**20  # what ONNX Runtime may compute while it opens a file, a constant each


class Ages(NamedTuple):
    """Years, float32 (B,) each; `low` and `high` are None for a model without intervals.

    `probabilities`, float32 (B, K), are None where they weren't asked for.
    """

    age: NDArray[np.float32]
    low: NDArray[np.float32] | None
    high: NDArray[np.float32] | None
    probabilities: NDArray[np.float32] | None = None


Run = Callable[[list[str], NDArray[np.uint8]], list[Any]]


@dataclass(frozen=True)
class Session:
    """An open model. `provider` is what ONNX Runtime gave; `cuda_note` says why "auto" did without CUDA.

    On a CPU a run stays on the thread that calls it, so that as many runs as there are cores don't disturb each
    other; with `all_threads` one run has all of them, on a second ONNX Runtime session made when first needed.
    """

    source: ModelSource
    spec: ModelSpec
    device: str
    provider: str
    cuda_note: str | None
    threads: int
    _run: Run
    _open_wide: Callable[[], Run | None]

    @cached_property
    def _run_wide(self) -> Run:
        return self._open_wide() or self._run

    def run(self, faces: NDArray[np.uint8], *, probabilities: bool = False, all_threads: bool = False) -> Ages:
        """(B, S, S, 3) uint8 -> ages. Raises ProviderError where the device fails, for example out of memory."""
        names = [name for name in self.spec.outputs if probabilities or name != "probabilities"]
        run = self._run_wide if all_threads else self._run
        try:
            answers = run(names, faces)
        except Exception as error:  # ONNX Runtime's exceptions have no base of their own
            raise ProviderError(f"ONNX Runtime failed on {self.device}: {_first_line(error)}") from error
        given = dict(zip(names, answers, strict=True))
        return Ages(given["age"], given.get("low"), given.get("high"), given.get("probabilities"))


def open_session(model: Model, *, device: str = "auto", threads: int = 1) -> Session:
    """Open a model that agedetect-export wrote, on "auto", "cpu" or "cuda"; on a CPU, one run has up to `threads`.

    "auto" is CUDA where a session really gets it, else the CPU. Raises ProviderError where ONNX Runtime or the
    device is missing, ModelError, beginning with the model's name, where it is not one of our models.
    """
    runtime = providers.load_runtime()
    wanted = providers.providers_for(device, runtime.get_available_providers())
    source = ModelSource.checked(model)
    session, cuda_note = _create(runtime, source, wanted)
    if device == "cuda" and cuda_note:
        raise ProviderError(f"device cuda: ONNX Runtime could not start CUDA: {cuda_note}")
    got = session.get_providers()
    spec = read_contract(session, source.name)
    source.require_unchanged()
    if providers.CUDA in got:
        buffer = survive_forks(DeviceBuffer(runtime, session, "cuda"))
        return Session(source, spec, "cuda", got[0], cuda_note, threads, buffer.run, lambda: None)
    open_wide = partial(_open_wide, runtime, source, threads)
    return Session(source, spec, "cpu", got[0], cuda_note, threads, _plain(session), open_wide)


def open_in_child(parent: Session) -> Session:
    """The same model again, in a forked child. Raises ModelError where its file has changed, ProviderError for CUDA."""
    if parent.device != "cpu":
        raise ProviderError(
            f"device {parent.device}: it can't be used in a forked process; use multiprocessing's spawn or forkserver, "
            "or create the AgeEstimator in the child process"
        )
    parent.source.require_unchanged()
    session = open_session(parent.source.place, device=parent.device, threads=parent.threads)
    parent.source.require_unchanged()
    return session


def _plain(session: Any) -> Run:
    return lambda names, faces: session.run(names, {"faces": faces})


def _open_wide(runtime: ModuleType, source: ModelSource, threads: int) -> Run | None:
    """None for one thread, and where the file has changed: the ages of another model would be worse than a slow run."""
    if threads == 1 or not source.is_unchanged:
        return None
    try:
        wide = _create_on(runtime, source, [providers.CPU], threads)
    except ModelError:  # it went away meanwhile
        return None
    return _plain(wide) if source.is_unchanged else None


def _create(runtime: ModuleType, source: ModelSource, wanted: list[str]) -> tuple[Any, str | None]:
    """A session, and why it lacks CUDA where CUDA was among the wanted."""
    if providers.CUDA not in wanted:
        return _create_on(runtime, source, wanted), None
    providers.preload_cuda(runtime)
    # Its log says, over many lines, what the error or the note will say in one.
    runtime.set_default_logger_severity(4)
    try:
        session = _create_on(runtime, source, wanted)
    except ModelError as error:
        # The model's fault or CUDA's? If the CPU takes it, CUDA's.
        session = _create_on(runtime, source, [providers.CPU])
        return session, _first_line(error.__cause__ or error)
    finally:
        runtime.set_default_logger_severity(2)
    return session, None if providers.CUDA in session.get_providers() else providers.cuda_obstacle(runtime)


def _create_on(runtime: ModuleType, source: ModelSource, wanted: list[str], threads: int = 1) -> Any:
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
    try:
        # With its fall-back ONNX Runtime would print, and continue on the CPU when CUDA fails.
        chosen = [providers.with_options(provider) for provider in wanted]
        model = source.for_onnx_runtime()
        return survive_forks(runtime.InferenceSession(model, options, providers=chosen, enable_fallback=0))
    except Exception as error:  # ONNX Runtime's exceptions have no base of their own
        reason = _first_line(error)
        if isinstance(source.place, Path):
            reason = reason.replace(str(source.place), source.name)
        if type(error).__name__ == "InvalidProtobuf":
            reason = "not an ONNX file, or truncated"
        if isinstance(error, UnicodeDecodeError):
            reason = NOT_TEXT
        raise ModelError(f"{source.name}: {reason}; {REMEDY}") from error


def _first_line(error: BaseException) -> str:
    """What ONNX Runtime says, without its "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : "."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error).strip())
    return text.splitlines()[0][:200] if text else type(error).__name__
