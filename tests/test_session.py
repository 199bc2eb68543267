"""Model files that are ours and that are not, devices that are there or not, broken installations."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest

import agedetect_runtime
from agedetect_runtime.device_buffer import DeviceBuffer
from agedetect_runtime.errors import ModelError, ProviderError
from agedetect_runtime.providers import CPU, CUDA, cuda_obstacle, providers_for, with_options
from agedetect_runtime.session import open_session
from agedetect_runtime.spec import METADATA_KEY
from tiny_models import tiny_spec, write_tiny_model

REMEDY = "export it with agedetect-export"


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        open_session(path, device="cpu")
    message = str(caught.value)
    assert message.startswith(f"{path.name}: ")
    assert "\n" not in message
    assert str(path.parent) not in message
    return message.removeprefix(f"{path.name}: ")


# The model file


def test_a_model_of_ours_opens_on_the_cpu(tmp_path: Path) -> None:
    session = open_session(write_tiny_model(tmp_path / "age.onnx"), device="cpu")
    assert (session.spec, session.device, session.provider) == (tiny_spec(), "cpu", CPU)
    assert session.cuda_note is None


def test_opening_and_running_print_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    session = open_session(write_tiny_model(tmp_path / "age.onnx"), threads=1)
    session.run(np.zeros((2, 32, 32, 3), np.uint8))
    with pytest.raises(ModelError):
        open_session(Path(__file__))
    assert capfd.readouterr() == ("", "")


def test_a_file_name_that_is_not_utf8_opens(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.onnx")
    assert open_session(write_tiny_model(tmp_path / "age.onnx").rename(path)).spec == tiny_spec()


def test_what_is_not_a_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "age.onnx"
    assert refusal(path) == f"cannot be read: no such file or directory; {REMEDY}"
    path.touch()
    assert refusal(path) == f"empty file; {REMEDY}"
    path.write_text("file,age\n")
    assert refusal(path) == f"not an ONNX file, or truncated; {REMEDY}"
    assert refusal(tmp_path) == "is a folder; give an .onnx file that agedetect-export wrote"
    os.mkfifo(tmp_path / "pipe.onnx")
    assert refusal(tmp_path / "pipe.onnx").startswith("is not a regular file")


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data = write_tiny_model(tmp_path / "whole.onnx").read_bytes()
    path = tmp_path / "age.onnx"
    for length in range(1, len(data), 7):
        path.write_bytes(data[:length])
        assert refusal(path).endswith(REMEDY)


def test_an_onnx_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "age.onnx", metadata=None)
    assert refusal(path) == f"no 'agedetect' metadata; {REMEDY}"


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ("not json", "its 'agedetect' metadata is not JSON"),
        ('{"schema": 7}', "schema 7 is unknown; this version reads schema 1"),
        ('{"schema": 1}', "its 'agedetect' metadata lacks image_size"),
    ],
)
def test_metadata_that_is_no_spec_is_refused(tmp_path: Path, metadata: str, words: str) -> None:
    message = refusal(write_tiny_model(tmp_path / "age.onnx", metadata=metadata))
    assert message.startswith(words)
    assert message.endswith(REMEDY)


def test_metadata_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "age.onnx", metadata="plain words")
    path.write_bytes(path.read_bytes().replace(b"plain words", b"plain \xff\xfe\xfdrds"))
    assert refusal(path).endswith(REMEDY)


def edit_model(path: Path, edit: Callable[[onnx.ModelProto], None]) -> Path:
    model = onnx.load(path)
    edit(model)
    onnx.save(model, path)
    return path


def rename_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = model.graph.node[0].input[0] = "images"


def fix_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def float_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT


def two_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(onnx.helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, [1]))


def rename_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = model.graph.node[-1].output[0] = "answer"


def column_output(model: onnx.ModelProto) -> None:
    del model.graph.output[:]
    axis = onnx.numpy_helper.from_array(np.array([1], np.int64), "axis")
    model.graph.initializer.append(axis)
    model.graph.node[-1].output[0] = "flat"
    model.graph.node.append(onnx.helper.make_node("Unsqueeze", ["flat", "axis"], ["age"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("age", onnx.TensorProto.FLOAT, ["b", 1]))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (rename_input, r"its input is not faces, uint8 \(batch, 32, 32, 3\)"),
        (float_input, "its input is not faces, uint8"),
        (two_inputs, "its input is not faces"),
        (fix_batch, "its batch is fixed at 1"),
        (rename_output, r"its outputs \['answer'\] do not start with exactly \['age'\]"),
        (column_output, r"its output age is not float32 \(batch,\)"),
    ],
)
def test_a_graph_that_breaks_the_contract_is_refused(
    tmp_path: Path, edit: Callable[[onnx.ModelProto], None], words: str
) -> None:
    path = edit_model(write_tiny_model(tmp_path / "age.onnx"), edit)
    with pytest.raises(ModelError, match=words):
        open_session(path)


def test_the_graph_must_have_the_size_of_the_spec(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "age.onnx", image_size=32, metadata=tiny_spec(48).to_json())
    assert refusal(path) == f"its input is not faces, uint8 (batch, 48, 48, 3); {REMEDY}"


def test_intervals_come_with_a_coverage_and_only_with_one(tmp_path: Path) -> None:
    both = open_session(write_tiny_model(tmp_path / "both.onnx", coverage=0.9))
    faces = np.full((2, 32, 32, 3), 100, np.uint8)
    ages = both.run(faces)
    assert ages.low is not None
    assert ages.high is not None
    assert (ages.age - ages.low).tolist() == (ages.high - ages.age).tolist() == [5, 5]
    alone = write_tiny_model(tmp_path / "alone.onnx", coverage=None, metadata=tiny_spec(coverage=0.9).to_json())
    assert refusal(alone).startswith("its outputs ['age'] do not start with exactly ['age', 'low', 'high']")
    without = write_tiny_model(tmp_path / "without.onnx", coverage=0.9, metadata=tiny_spec().to_json())
    assert refusal(without).startswith("its outputs ['age', 'low', 'high'] do not start with exactly ['age']")


def test_a_later_output_of_probabilities_is_allowed(tmp_path: Path) -> None:
    def add_probabilities(model: onnx.ModelProto) -> None:
        model.graph.node.append(onnx.helper.make_node("Identity", ["means"], ["probabilities"]))
        info = onnx.helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["batch", 3])
        model.graph.output.append(info)

    path = edit_model(write_tiny_model(tmp_path / "age.onnx"), add_probabilities)
    assert open_session(path).run(np.zeros((1, 32, 32, 3), np.uint8)).age.tolist() == [1.0]


def test_the_metadata_is_found_under_its_key_alone(tmp_path: Path) -> None:
    def rename_key(model: onnx.ModelProto) -> None:
        model.metadata_props[0].key = METADATA_KEY + "2"

    assert refusal(edit_model(write_tiny_model(tmp_path / "age.onnx"), rename_key)).startswith("no 'agedetect'")


# The device


def test_providers_follow_the_device() -> None:
    gpu_wheel = ["TensorrtExecutionProvider", CUDA, CPU]
    assert providers_for("cpu", gpu_wheel) == [CPU]
    assert providers_for("auto", gpu_wheel) == providers_for("cuda", gpu_wheel) == [CUDA, CPU]
    assert providers_for("auto", ["AzureExecutionProvider", CPU]) == [CPU]
    with pytest.raises(ProviderError, match=r"no CUDA provider; .* pip install onnxruntime-gpu"):
        providers_for("cuda", [CPU])
    with pytest.raises(ProviderError, match="device 'gpu' is not one of auto, cpu, cuda"):
        providers_for("gpu", gpu_wheel)


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="this wheel has CUDA")
def test_cuda_on_a_wheel_without_it_is_an_error_and_auto_takes_the_cpu(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "age.onnx")
    with pytest.raises(ProviderError, match="has no CUDA provider"):
        open_session(path, device="cuda")
    session = open_session(path, device="auto")
    assert (session.device, session.provider, session.cuda_note) == ("cpu", CPU, None)


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="this wheel has CUDA")
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_cuda_that_is_listed_but_not_got_is_an_error_and_auto_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiny_model(tmp_path / "age.onnx")
    # As onnxruntime-gpu does without a GPU: it lists CUDA, and the session comes without it.
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    with pytest.raises(ProviderError, match="ONNX Runtime could not start CUDA: no NVIDIA GPU or driver"):
        open_session(path, device="cuda")
    session = open_session(path, device="auto")
    assert (session.device, session.provider) == ("cpu", CPU)
    assert session.cuda_note
    with pytest.raises(ModelError, match=r"test_session\.py: not an ONNX file"):  # a bad model is not CUDA's fault
        open_session(Path(__file__), device="cuda")


def test_a_cuda_library_that_does_not_load_is_named(tmp_path: Path) -> None:
    (tmp_path / "capi").mkdir()
    (tmp_path / "capi" / "libonnxruntime_providers_cuda.so").write_bytes(b"not a library")
    runtime = SimpleNamespace(__file__=str(tmp_path / "__init__.py"), __version__="1.30.0")
    told = cuda_obstacle(runtime)  # type: ignore[arg-type]
    assert told.startswith("libonnxruntime_providers_cuda.so: ")
    assert told.endswith("install the CUDA and cuDNN that onnxruntime-gpu 1.30.0 needs")


def test_a_session_that_fails_while_running_says_where(tmp_path: Path) -> None:
    session = open_session(write_tiny_model(tmp_path / "age.onnx"), device="cpu")
    with pytest.raises(ProviderError, match="ONNX Runtime failed on cpu: Got invalid dimensions"):
        session.run(np.zeros((1, 31, 32, 3), np.uint8))


def test_a_buffer_on_the_device_gives_the_same_ages_batch_after_batch(tmp_path: Path) -> None:
    """The CPU stands in for CUDA: the same calls, another kind of memory."""
    path = write_tiny_model(tmp_path / "age.onnx", coverage=0.9)
    session = onnxruntime.InferenceSession(path, providers=[CPU])
    buffer = DeviceBuffer(onnxruntime, session, "cpu")
    for seed, count in enumerate((3, 3, 1, 3, 0)):
        faces = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        for names in (["age"], ["low", "age"]):
            for bound, plain in zip(buffer.run(names, faces), session.run(names, {"faces": faces}), strict=True):
                assert bound.tolist() == plain.tolist()


def test_one_run_on_all_threads_gives_the_same_ages(tmp_path: Path) -> None:
    session = open_session(write_tiny_model(tmp_path / "age.onnx"), device="cpu", threads=2)
    faces = np.random.default_rng(1).integers(0, 256, (64, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(session.run(faces, all_threads=True).age, session.run(faces).age, rtol=0, atol=1e-4)


# The installation


def import_runtime(folder: Path, *distributions: str, with_environment: bool) -> str:
    """What load_runtime says in a process that sees these distributions, and the real environment or not."""
    (folder / "agedetect_runtime").symlink_to(Path(agedetect_runtime.__file__).parent)
    for name in distributions:
        info = folder / f"{name.replace('-', '_')}-1.30.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.30.0\n")
    code = (
        "from agedetect_runtime.errors import ProviderError\n"
        "from agedetect_runtime.providers import load_runtime\n"
        "try:\n    print('imported', load_runtime().__name__)\n"
        "except ProviderError as error:\n    print(error)\n"
    )
    flags = [] if with_environment else ["-S"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, *flags, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.count("\n") == 1
    return done.stdout.strip()


def test_the_environment_of_the_tests_is_a_good_installation(tmp_path: Path) -> None:
    assert import_runtime(tmp_path, with_environment=True) == "imported onnxruntime"


def test_both_distributions_of_onnx_runtime_are_one_too_many(tmp_path: Path) -> None:
    told = import_runtime(tmp_path, "onnxruntime", "onnxruntime-gpu", with_environment=True)
    assert told.startswith("onnxruntime and onnxruntime-gpu are both installed")
    assert "pip uninstall both, then pip install onnxruntime or onnxruntime-gpu" in told


def test_no_distribution_of_onnx_runtime_says_what_to_install(tmp_path: Path) -> None:
    told = import_runtime(tmp_path, with_environment=False)
    assert told == "ONNX Runtime is not installed; pip install onnxruntime, or onnxruntime-gpu for CUDA"


def test_an_onnx_runtime_that_lost_its_files_is_broken(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime").mkdir()  # what uninstalling one of two leaves: a folder, importable, empty
    told = import_runtime(tmp_path, "onnxruntime-gpu", with_environment=False)
    assert told.startswith("ONNX Runtime cannot be imported (module 'onnxruntime' has no attribute")
    assert "pip uninstall onnxruntime onnxruntime-gpu" in told


def test_the_spec_in_the_file_is_the_spec_that_is_read(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "age.onnx", image_size=40)
    stored = {prop.key: prop.value for prop in onnx.load(path).metadata_props}
    assert json.loads(stored[METADATA_KEY])["image_size"] == open_session(path).spec.image_size == 40


def test_cuda_is_asked_for_full_float32_and_the_cpu_for_nothing() -> None:
    assert with_options(CUDA) == (CUDA, {"use_tf32": "0"})
    assert with_options(CPU) == CPU
