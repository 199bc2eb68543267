"""A model -> an ONNX Runtime session that is known to be ours and to run on the device it names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agedetect_runtime import providers
from agedetect_runtime.contract import read_contract
from agedetect_runtime.device_buffer import DeviceBuffer
from agedetect_runtime.ending import inside_onnx_runtime
from agedetect_runtime.errors import ModelError, ProviderError
from agedetect_runtime.forks import survive_forks
from agedetect_runtime.inference import first_line, open_inference
from agedetect_runtime.modelsource import Model, ModelSource
from agedetect_runtime.spec import PICTURE, ModelSpec


class Ages(NamedTuple):
    """Years, float32 (B,) each; `low` and `high` are None for a model without intervals.

    `probabilities`, float32 (B, K), are None where they weren't asked for.
    """

    age: NDArray[np.float32]
    low: NDArray[np.float32] | None
    high: NDArray[np.float32] | None
    probabilities: NDArray[np.float32] | None = None


Images = Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
Run = Callable[[list[str], Images], list[Any]]


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

    def open_again(self) -> Session:
        """The same model, in a forked child. Raises ModelError where its file has changed, ProviderError for CUDA."""
        if self.device != "cpu":
            raise ProviderError(
                f"device {self.device}: it can't be used in a forked process; use multiprocessing's spawn or "
                "forkserver, or create the AgeEstimator in the child process"
            )
        self.source.require_unchanged()
        session = open_session(self.source.place, device=self.device, threads=self.threads)
        self.source.require_unchanged()
        return session

    @cached_property
    def _run_wide(self) -> Run:
        return self._open_wide() or self._run

    def run(self, images: Images, *, probabilities: bool = False, all_threads: bool = False) -> Ages:
        """Faces, (S, S, 3) uint8 each, or pictures of any size where the model resizes -> ages.

        Raises ProviderError where the device fails, for example out of memory.
        """
        names = [name for name in self.spec.outputs if probabilities or name != "probabilities"]
        run = self._run_wide if all_threads else self._run
        try:
            with inside_onnx_runtime():
                answers = run(names, images)
        except Exception as error:  # ONNX Runtime's exceptions have no base of their own
            raise ProviderError(f"ONNX Runtime failed on {self.device}: {first_line(error)}") from error
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
        if spec.input == PICTURE:
            return Session(source, spec, "cuda", got[0], cuda_note, threads, _run_on(session, spec), lambda: None)
        buffer = survive_forks(DeviceBuffer(runtime, session, "cuda"))
        return Session(source, spec, "cuda", got[0], cuda_note, threads, buffer.run, lambda: None)
    open_wide = partial(_open_wide, runtime, source, spec, threads)
    return Session(source, spec, "cpu", got[0], cuda_note, threads, _run_on(session, spec), open_wide)


def _run_on(session: Any, spec: ModelSpec) -> Run:
    def all_faces(names: list[str], faces: Images) -> list[Any]:
        answers: list[Any] = session.run(names, {"faces": np.asarray(faces)})
        return answers

    def one_by_one(names: list[str], pictures: Images) -> list[Any]:
        answers = [session.run(names, {"picture": picture[None]}) for picture in pictures]
        return [np.concatenate(output) for output in zip(*answers, strict=True)]

    return one_by_one if spec.input == PICTURE else all_faces


def _open_wide(runtime: ModuleType, source: ModelSource, spec: ModelSpec, threads: int) -> Run | None:
    """None for one thread, and where the file has changed: the ages of another model would be worse than a slow run."""
    if threads == 1 or not source.is_unchanged:
        return None
    try:
        wide = open_inference(runtime, source, [providers.CPU], threads)
    except ModelError:  # it went away meanwhile
        return None
    return _run_on(wide, spec) if source.is_unchanged else None


def _create(runtime: ModuleType, source: ModelSource, wanted: list[str]) -> tuple[Any, str | None]:
    """A session, and why it lacks CUDA where CUDA was among the wanted."""
    if providers.CUDA not in wanted:
        return open_inference(runtime, source, wanted), None
    providers.preload_cuda(runtime)
    # Its log says, over many lines, what the error or the note will say in one.
    runtime.set_default_logger_severity(4)
    try:
        session = open_inference(runtime, source, wanted)
    except ModelError as error:
        # The model's fault or CUDA's? If the CPU takes it, CUDA's.
        session = open_inference(runtime, source, [providers.CPU])
        return session, first_line(error.__cause__ or error)
    finally:
        runtime.set_default_logger_severity(2)
    return session, None if providers.CUDA in session.get_providers() else providers.cuda_obstacle(runtime)
