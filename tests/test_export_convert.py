"""The file that the exporter writes: valid, self-contained, for any batch size, silent about this machine."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from agedetect_export.convert import OPSET, convert, write_spec
from agedetect_runtime import ModelError, ModelSpec
from agedetect_runtime.spec import METADATA_KEY
from export_source import SIZE, SPEC, TinyAges


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "tiny.onnx"
    convert(TinyAges(), SPEC, path)
    return path


def test_the_graph_is_the_contract(exported: Path) -> None:
    onnx.checker.check_model(str(exported), full_check=True)
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    (faces,), (age,) = session.get_inputs(), session.get_outputs()
    assert (faces.name, faces.type, faces.shape) == ("faces", "tensor(uint8)", ["batch", SIZE, SIZE, 3])
    assert (age.name, age.type, age.shape) == ("age", "tensor(float)", ["batch"])


def test_the_opset_is_the_one_that_is_promised(exported: Path) -> None:
    assert [(item.domain, item.version) for item in onnx.load(exported).opset_import] == [("", OPSET)]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_any_batch_size_runs(exported: Path, size: int) -> None:
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    batch = np.random.default_rng(size).integers(0, 256, (size, SIZE, SIZE, 3), np.uint8)
    (ages,) = session.run(None, {"faces": batch})
    with torch.inference_mode():
        wanted = TinyAges()(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(ages, wanted, rtol=0, atol=1e-3)  # parity's own tolerance, years


def test_one_file_holds_everything(exported: Path) -> None:
    assert list(exported.parent.iterdir()) == [exported]
    assert all(not tensor.external_data for tensor in onnx.load(exported).graph.initializer)


def test_the_spec_is_the_only_metadata_and_reads_back(exported: Path) -> None:
    metadata = {item.key: item.value for item in onnx.load(exported).metadata_props}
    assert list(metadata) == [METADATA_KEY]
    assert ModelSpec.from_json(metadata[METADATA_KEY]) == SPEC


def test_the_file_holds_no_path_of_this_machine(exported: Path) -> None:
    content = exported.read_bytes()
    assert b"export_source" not in content
    assert b".py" not in content
    assert str(Path.cwd()).encode() not in content


def test_the_same_program_gives_the_same_bytes(exported: Path, tmp_path: Path) -> None:
    convert(TinyAges(), SPEC, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == exported.read_bytes()


def test_a_new_spec_replaces_the_old_and_leaves_the_graph(exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.onnx"
    path.write_bytes(exported.read_bytes())
    write_spec(path, replace(SPEC, provenance={"parity": {"passed": True}}))
    changed, original = onnx.load(path), onnx.load(exported)
    assert len(changed.metadata_props) == 1
    assert ModelSpec.from_json(changed.metadata_props[0].value).provenance == {"parity": {"passed": True}}
    assert changed.graph == original.graph


def test_a_program_without_the_promised_outputs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="age, low, high"):
        convert(TinyAges(), replace(SPEC, coverage=0.9), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_program_of_one_batch_size_is_refused(tmp_path: Path) -> None:
    faces = torch.zeros((2, SIZE, SIZE, 3), dtype=torch.uint8)
    fixed = torch.export.export(TinyAges().eval(), (faces,)).module()
    with pytest.raises(ModelError, match=r"\(2, 32, 32, 3\).*wanted.*'batch'"):
        convert(fixed, SPEC, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_onnx_cannot_say_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Unsayable(TinyAges):
        def forward(self, faces: torch.Tensor) -> torch.Tensor:
            square = faces[:, :4, :4, 0].float()
            sums: torch.Tensor = torch.linalg.eigvals(square).real.sum(1)
            return sums + super().forward(faces)

    monkeypatch.chdir(tmp_path)  # where torch.onnx would put a report of its own
    with pytest.raises(ModelError, match=r"torch\.onnx can't convert it") as caught:
        convert(Unsayable(), SPEC, tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").mkdir()
    with pytest.raises(IsADirectoryError):
        convert(TinyAges(), SPEC, tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
