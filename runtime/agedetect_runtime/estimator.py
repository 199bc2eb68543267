"""Images -> ages, one or a stream of them, with one ONNX model."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from agedetect_runtime.cores import usable_cores
from agedetect_runtime.detectorfile import detector_file
from agedetect_runtime.errors import ImageError, ModelError
from agedetect_runtime.estimate import Estimate, Failure, Result, results
from agedetect_runtime.finding import CutFaces, Finding, FoundFace, cut_faces, findings
from agedetect_runtime.images import load_face, load_picture
from agedetect_runtime.modelsource import Model
from agedetect_runtime.openmodel import OpenModel, opening
from agedetect_runtime.pipeline import Loaded, stream
from agedetect_runtime.session import Ages, open_session
from agedetect_runtime.sources import Source, describe_source, is_one_source
from agedetect_runtime.spec import PICTURE, ModelSpec
from agedetect_runtime.table import printable
from agedetect_runtime.yunet import YuNet

__all__ = ["AgeEstimator", "Ages", "Estimate", "Failure", "Finding", "FoundFace"]

# Images in one run of the model (docs/performance.md): on a CPU more only leave the caches, a GPU wants more.
_BATCH_SIZES = {"cpu": 8, "cuda": 64}
IMAGE_SECONDS = 30.0  # a 120-megapixel PNG takes about 5


class AgeEstimator:
    """An age model on one device: `AgeEstimator("model.onnx").predict("face.jpg").age`.

    `predict` takes an image to be of one face, cut as the model's training images are; `find` looks for the faces in
    any photo, and cuts them so.

    `spec` is what the model says about itself; `device` ("cpu" or "cuda") and `provider` are what the session
    really got, and `cuda_note` says why "auto" did without a CUDA that ONNX Runtime lists. Many threads may share
    one estimator. It may be pickled, as it was constructed: a worker process opens the file again, or the bytes. A
    forked child opens it again by itself, on a CPU.
    """

    def __init__(
        self,
        model: Model,
        *,
        device: str = "auto",
        threads: int | None = None,
        batch_size: int | None = None,
        image_seconds: float | None = IMAGE_SECONDS,
        detector: Model | None = None,
    ) -> None:
        """Open a model: the path of an .onnx file, or its bytes.

        `detector`, a YuNet file or its bytes, is for `find`. Without it, the first call of `find` takes the known one
        from the user's cache, `AGEDETECT_CACHE` or ~/.cache/agedetect, and downloads it if it isn't there.

        By default `threads` is the number of cores that this process may use, and `batch_size` 8 on a CPU, 64 on CUDA,
        1 for a model that resizes in its graph.
        `predict_many` gives up an image that takes longer than `image_seconds` to open; with None it waits forever.
        Raises ModelError for anything but one of our models, ProviderError for a missing device.
        """
        for name, value in (("threads", threads), ("batch_size", batch_size)):
            if value is not None and value < 1:
                raise ValueError(f"{name} {value} is not at least 1")
        if image_seconds is not None and not image_seconds > 0:
            raise ValueError(f"image_seconds {image_seconds} is not above 0")
        self._options = {
            "device": device,
            "threads": threads,
            "batch_size": batch_size,
            "image_seconds": image_seconds,
        }
        self.threads = threads or usable_cores()
        self.image_seconds = image_seconds
        session = open_session(model, device=device, threads=self.threads)
        # A model that resizes takes one picture a run, and a whole picture may be large.
        self.batch_size = batch_size or (1 if session.spec.input == PICTURE else _BATCH_SIZES[session.device])
        self.spec: ModelSpec = session.spec
        self.device: str = session.device
        self.provider: str = session.provider
        self.cuda_note: str | None = session.cuda_note
        self._model = OpenModel(session)
        self._given_detector = detector is not None
        self._detector = None if detector is None else OpenModel(YuNet.open(detector))

    def predict(self, source: Source, *, probabilities: bool = False) -> Estimate:
        """The age of the face in one image; with `probabilities`, also that of each age.

        Raises ImageError for a bad image, ModelError for an answer that is not a number, and for `probabilities` of a
        model that gives none.
        """
        self._check_head(probabilities)
        opened = self._model.here()
        with opened.callers:
            face = self._load(source)
            answers = opened.session.run([face], probabilities=probabilities, all_threads=opened.callers.one)
        (result,) = results([source], [face], answers, self.spec.min_age)
        if result.error is not None:
            raise ModelError(result.error)
        return result

    def predict_many(self, sources: Iterable[Source], *, probabilities: bool = False) -> Generator[Result, None, None]:
        """An `Estimate` for each source, in order; for a bad image a `Failure`, whose `error` is the reason.

        Lazy: nothing is taken from `sources` before the first result is requested, and then at most
        2 x (threads + 1) batches ahead. Closing the generator, or dropping it, ends the work. Raises TypeError for
        a single source, and ModelError for `probabilities` of a model that gives none.
        """
        self._check_sources("predict_many", "predict", sources)
        self._check_head(probabilities)
        self._model.here()
        return stream(
            iter(sources),
            self._load,
            partial(self._results, probabilities=probabilities),
            threads=self.threads,
            batch_size=self.batch_size,
            image_seconds=self.image_seconds,
        )

    def find(self, source: Source, *, largest: bool = False, probabilities: bool = False) -> list[FoundFace]:
        """The faces in a photo, the largest first, each with its age; with `largest`, that one alone.

        An empty list where there is none. Raises ImageError for a bad image, ModelError for an answer that is not a
        number and for `probabilities` of a model that gives none, AgedetectError where the detector can't be had.
        """
        self._check_head(probabilities)
        detector = self._detector_here()
        opened = self._model.here()
        with opened.callers:
            cut = self._cut(source, detector=detector, largest=largest)
            ages = self._chip_results([source], [cut], probabilities, all_threads=opened.callers.one)
        (finding,) = findings([source], [cut], ages)
        for face in finding.faces:
            if face.estimate.error is not None:
                raise ModelError(face.estimate.error)
        return list(finding.faces)

    def find_many(
        self, sources: Iterable[Source], *, largest: bool = False, probabilities: bool = False
    ) -> Generator[Finding, None, None]:
        """A `Finding` for each photo, in order: its faces, as `find` gives them, or the reason why there are none.

        As lazy as `predict_many`, and it raises what that raises.
        """
        self._check_sources("find_many", "find", sources)
        self._check_head(probabilities)
        detector = self._detector_here()
        return stream(
            iter(sources),
            partial(self._cut, detector=detector, largest=largest),
            partial(self._findings, probabilities=probabilities),
            threads=self.threads,
            batch_size=self.batch_size,
            image_seconds=self.image_seconds,
        )

    def ages(self, faces: NDArray[np.uint8], *, probabilities: bool = False) -> Ages:
        """Ages of preprocessed faces, (B, S, S, 3) uint8 as `load_face` gives them, in one run.

        The model's answers as they are, NaN too. Raises ImageError for another shape or type, and ModelError for
        `probabilities` of a model that gives none.
        """
        side = self.spec.image_size
        if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[1:] != (side, side, 3):
            raise ImageError(f"faces of shape {faces.shape} and dtype {faces.dtype}; give uint8 (B, {side}, {side}, 3)")
        self._check_head(probabilities)
        faces = np.ascontiguousarray(faces)
        opened = self._model.here()
        with opened.callers:
            return opened.session.run(faces, probabilities=probabilities, all_threads=opened.callers.one)

    @property
    def digest(self) -> str:
        """The SHA-256 of the model, in hex. Raises ModelError where its file changed before this was first read."""
        return self._model.source.digest

    def close(self) -> None:
        """Release the memory of the model and the detector; what is called later raises AgedetectError."""
        self._model.close()
        if self._detector is not None:
            self._detector.close()

    def __enter__(self) -> Self:
        self._model.here()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        label = self._model.source.label
        if self._model.is_closed:
            return f"AgeEstimator({label}, closed)"
        return f"AgeEstimator({label}, {printable(self.spec.backbone)}, {self.spec.image_size} px, {self.device})"

    def __reduce__(self) -> tuple[Callable[..., AgeEstimator], tuple[object, ...]]:
        source = self._model.here().session.source
        detector = self._detector.source if self._detector is not None and self._given_detector else None
        digests = [source.digest, *([detector.digest] if detector else [])]
        options = {**self._options, "detector": detector.place if detector else None}
        return _open_again, (type(self), source.place, digests, options)

    def _check_sources(self, many: str, one: str, sources: object) -> None:
        if is_one_source(sources):
            raise TypeError(
                f"{many} takes an iterable of sources, and {describe_source(sources)} is one source; call "
                f"{one} for one image, or pass walk_images(folder) for the images of a folder"
            )

    def _detector_here(self) -> YuNet:
        """Open in this process. Raises AgedetectError once the estimator is closed, or where there is no detector."""
        self._model.here()
        with opening():
            if self._detector is None:
                self._detector = OpenModel(YuNet.open(detector_file()))
        return self._detector.here().session

    def _check_head(self, probabilities: bool) -> None:
        if probabilities and self.spec.head != "distribution":
            raise ModelError(
                f"{self._model.source.name}: its {self.spec.head} head gives no probabilities; "
                "train one with --head distribution"
            )

    def _load(self, source: Source) -> NDArray[np.uint8]:
        if self.spec.input == PICTURE:
            return load_picture(source)
        return load_face(source, self.spec.image_size, self.spec.resampling)

    def _results(self, batch: Sequence[Source], loaded: Sequence[Loaded], *, probabilities: bool) -> list[Result]:
        """A batch's results, from its faces and the reasons of those that have none."""
        faces = [item for item in loaded if not isinstance(item, str)]
        if not faces:
            return results(batch, loaded)
        answers = self._model.here().session.run(faces, probabilities=probabilities)
        return results(batch, loaded, answers, self.spec.min_age)

    def _cut(self, source: Source, *, detector: YuNet, largest: bool) -> CutFaces:
        spec = self.spec
        return cut_faces(
            source,
            detector,
            side=spec.image_size,
            template=spec.template,
            resampling=spec.resampling,
            largest=largest,
        )

    def _findings(
        self, batch: Sequence[Source], cut: Sequence[CutFaces | str], *, probabilities: bool
    ) -> list[Finding]:
        return findings(batch, cut, self._chip_results(batch, cut, probabilities))

    def _chip_results(
        self, batch: Sequence[Source], cut: Sequence[CutFaces | str], probabilities: bool, *, all_threads: bool = False
    ) -> list[Result]:
        """The ages of all faces of a batch of photos, `batch_size` faces a run: a photo may have any number."""
        found = [
            (photo, chip)
            for photo, item in zip(batch, cut, strict=True)
            if not isinstance(item, str)
            for chip in item.chips
        ]
        session = self._model.here().session
        ages: list[Result] = []
        for start in range(0, len(found), self.batch_size):
            photos, chips = zip(*found[start : start + self.batch_size], strict=True)
            answers = session.run(chips, probabilities=probabilities, all_threads=all_threads)
            ages += results(photos, chips, answers, self.spec.min_age)
        return ages


def _open_again(
    kind: type[AgeEstimator], place: Path | bytes, digests: list[str], options: dict[str, Any]
) -> AgeEstimator:
    """What unpickling calls. Raises ModelError where a file is no longer the one that was pickled."""
    estimator = kind(place, **options)
    detector = estimator._detector
    sources = [estimator._model.source, *([detector.source] if detector else [])]
    for source, digest in zip(sources, digests, strict=True):
        if source.digest != digest:
            raise ModelError(f"{source.name}: has changed since its AgeEstimator was pickled; create a new one")
    return estimator
