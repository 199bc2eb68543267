"""Hostile model files: refused in one line, soon, in little memory, and before any other file is read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from agedetect_runtime import modelfile
from agedetect_runtime.errors import ModelError
from agedetect_runtime.modelfile import MAX_DEPTH, MAX_FIELDS, check_model, check_model_file
from agedetect_runtime.session import open_session
from agedetect_runtime.spec import METADATA_KEY
from hostile.pictures import write_quarters_model
from tiny_models import tiny_spec, write_tiny_model

REMEDY = "export it with agedetect-export"


def edited(path: Path, edit: Callable[[onnx.ModelProto], None]) -> Path:
    """Write a good model with one edit."""
    model = onnx.load(write_tiny_model(path))
    edit(model)
    path.write_bytes(model.SerializeToString())
    return path


def refusal(path: Path) -> str:
    start = time.process_time()  # what it costs, not how busy the machine is
    with pytest.raises(ModelError) as caught:
        open_session(path, device="cpu")
    assert time.process_time() - start < 5  # each takes milliseconds, but for a million fields
    message = str(caught.value)
    assert message.startswith(f"{path.name}: ")
    assert "\n" not in message
    assert len(message) < 300
    return message.removeprefix(f"{path.name}: ").removesuffix(f"; {REMEDY}")


def field(number: int, data: bytes) -> bytes:
    """A protobuf field of bytes, as a message is in a message."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(number: int) -> bytes:
    head = b""
    while number > 127:
        head += bytes([number & 127 | 128])
        number >>= 7
    return head + bytes([number])


# Other files


def outside(name: str = "stolen", location: str = "../secret") -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def as_weights(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(outside())


def as_the_weights_that_are_used(model: onnx.ModelProto) -> None:
    (years,) = (tensor for tensor in model.graph.initializer if tensor.name == "years")
    years.CopyFrom(outside("years"))


def as_a_constant(model: onnx.ModelProto) -> None:
    model.graph.node.add().CopyFrom(helper.make_node("Constant", [], ["stolen"], value=outside()))


def as_one_of_several(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.add(name="several", type=onnx.AttributeProto.TENSORS).tensors.append(outside())


def in_a_branch(model: onnx.ModelProto) -> None:
    branch = helper.make_graph([], "branch", [], [helper.make_tensor_value_info("stolen", 1, [3])], [outside()])
    model.graph.node.add().CopyFrom(helper.make_node("If", ["yes"], ["it"], then_branch=branch, else_branch=branch))


def in_a_function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["stolen"], value=outside())
    model.functions.append(helper.make_function("ours", "f", [], ["stolen"], [node], [helper.make_opsetid("", 18)]))


def in_training(model: onnx.ModelProto) -> None:
    model.training_info.add().algorithm.initializer.append(outside())


def with_its_location_alone(model: onnx.ModelProto) -> None:
    tensor = outside()
    tensor.ClearField("data_location")
    model.graph.initializer.append(tensor)


PLACES = [
    as_weights,
    as_the_weights_that_are_used,
    as_a_constant,
    as_one_of_several,
    in_a_branch,
    in_a_function,
    in_training,
    with_its_location_alone,
]


@pytest.mark.parametrize("place", PLACES)
def test_weights_in_another_file_are_refused_wherever_they_are_named(
    tmp_path: Path, place: Callable[[onnx.ModelProto], None]
) -> None:
    path = edited(tmp_path / "age.onnx", place)
    with pytest.raises(
        ModelError, match=r"age.onnx: its weights are in another file, but a model must be a single file"
    ):
        check_model_file(path)  # which knows no ONNX Runtime
    assert refusal(path) == "its weights are in another file, but a model must be a single file"


@pytest.mark.parametrize("location", ["../pipe", "pipe", "/dev/zero", "file:///etc/passwd", ""])
def test_the_other_file_is_not_even_opened(tmp_path: Path, location: str) -> None:
    (tmp_path / "models").mkdir()
    for folder in (tmp_path, tmp_path / "models"):
        os.mkfifo(folder / "pipe")  # who opens it waits for ever
    path = edited(
        tmp_path / "models" / "age.onnx", lambda model: model.graph.initializer.append(outside(location=location))
    )
    assert refusal(path) == "its weights are in another file, but a model must be a single file"


# Sizes


@pytest.mark.parametrize(
    ("dims", "words"),
    [
        ([2**31], "it declares a value of 2147483648 elements, the limit is 268435456"),
        ([2**20, 2**20, 2**20], "it declares a value of 1099511627776 elements, the limit is 268435456"),
        ([-1], "it declares a value of 18446744073709551615 elements, the limit is 268435456"),
        ([2**28], "it declares a tensor of 268435456 elements and holds 18 bytes of it"),
        ([1] * 2000 + [2**63 - 1] * 2000, "it declares a value of 9223372036854775807 elements"),
    ],
)
def test_a_tensor_that_declares_more_than_it_holds_is_refused(tmp_path: Path, dims: list[int], words: str) -> None:
    def declare(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(TensorProto(name="much", data_type=1, dims=dims, raw_data=b"\0\0"))

    assert refusal(edited(tmp_path / "age.onnx", declare)).startswith(words)


@pytest.mark.parametrize("values", ["value_info", "output"])
def test_a_shape_of_gigabytes_is_refused(tmp_path: Path, values: str) -> None:
    def declare(model: onnx.ModelProto) -> None:
        getattr(model.graph, values).append(helper.make_tensor_value_info("means", 1, ["batch", 2**16, 2**15]))

    words = "it declares a value of 2147483648 elements, the limit is 268435456"
    assert refusal(edited(tmp_path / "age.onnx", declare)) == words


def test_a_sparse_tensor_is_refused(tmp_path: Path) -> None:
    def add(model: onnx.ModelProto) -> None:
        values = numpy_helper.from_array(np.ones(1, np.float32), "few")
        indices = numpy_helper.from_array(np.zeros(1, np.int64), "where")
        model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2**40]))

    assert refusal(edited(tmp_path / "age.onnx", add)) == "it holds a sparse tensor, which expands to any size"


def test_metadata_of_any_size_is_refused(tmp_path: Path) -> None:
    long = json.dumps(json.loads(tiny_spec().to_json()) | {"card": "x" * 17_000_000})
    words = "its metadata has more than 16777216 bytes"
    assert refusal(write_tiny_model(tmp_path / "one.onnx", metadata=long)) == words

    def add_many(model: onnx.ModelProto) -> None:
        for index in range(20):
            model.metadata_props.add(key=str(index), value="x" * 1_000_000)

    assert refusal(edited(tmp_path / "many.onnx", add_many)) == words


def test_metadata_of_somebody_else_beside_ours_is_no_trouble(tmp_path: Path) -> None:
    def add(model: onnx.ModelProto) -> None:
        model.metadata_props.add(key="author", value="somebody ⚙")
        model.metadata_props.add(key="", value="")

    assert open_session(edited(tmp_path / "age.onnx", add)).spec == tiny_spec()


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"schema": "x" * 100_000}, r"schema 'x{12}\.\.\.x{13}' is unknown"),
        ({"head": [[[[[[[[[]]]]]]]]]}, r"head \[\[\[\[\[\[\[\.\.\.\]\]\]\]\]\]\] is not one of regression"),
        ({"image_size": 10**4000}, r"image_size 1000\d*\.\.\.0* is not a whole number"),
        ({"backbone": None, "card": 1}, "backbone None is not text"),
    ],
)
def test_a_spec_of_wild_values_is_refused_in_a_short_line(
    tmp_path: Path, metadata: dict[str, object], words: str
) -> None:
    text = json.dumps(json.loads(tiny_spec().to_json()) | metadata)
    path = write_tiny_model(tmp_path / "age.onnx", metadata=text)
    with pytest.raises(ModelError, match=words):
        open_session(path)
    refusal(path)


def test_more_than_two_gigabytes_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "age.onnx"
    path.touch()
    os.truncate(path, 2**40)  # of nothing: it takes no room
    assert refusal(path) == f"{2**40} bytes, but an ONNX file has at most {2**31 - 1}"


# Structure


def nested(levels: int) -> bytes:
    """Graphs in attributes in nodes in graphs."""
    graph = b""
    while levels > 0:
        graph, levels = field(1, field(5, field(6, graph))), levels - 3
    return field(7, graph)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (nested(MAX_DEPTH + 10), "it is nested deeper than 100 levels"),
        (nested(60_000), "it is nested deeper than 100 levels"),
        (field(7, b"\x0a\0" * MAX_FIELDS), "it has more than 1000000 parts"),
        (b"\x3a" + varint(2**63) + b"\0", "not an ONNX file, or truncated"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "not an ONNX file, or truncated"),
        (b"\x3b\x3c", "not an ONNX file, or truncated"),  # a group
        (b"\x00\x01", "not an ONNX file, or truncated"),  # field 0
        (b"\x39\0\0", "not an ONNX file, or truncated"),  # eight bytes that are two
    ],
)
def test_a_file_without_sense_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "age.onnx"
    path.write_bytes(data)
    assert refusal(path) == words


@pytest.mark.parametrize("data", [field(5, b"\x08\x01" * 999), field(5, field(1, b"\x01" * 999)), b"\x58\0" * 999])
def test_every_number_is_counted_wherever_it_is(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    check_model(field(7, data))
    monkeypatch.setattr(modelfile, "MAX_FIELDS", 998)
    with pytest.raises(ModelError, match="it has more than 998 parts"):
        check_model(field(7, data))


def test_what_protobuf_allows_and_nobody_writes_is_read(tmp_path: Path) -> None:
    data = write_tiny_model(tmp_path / "age.onnx").read_bytes()
    unknown = varint(99 << 3) + varint(2**64 - 1) + varint(98 << 3 | 1) + bytes(8) + varint(97 << 3 | 5) + bytes(4)
    (tmp_path / "age.onnx").write_bytes(data + unknown + field(96, b"anything"))
    assert open_session(tmp_path / "age.onnx").spec == tiny_spec()


@pytest.mark.parametrize("name", [b"faces", b"batch", b"age\x12"])
def test_names_that_are_not_text_are_refused(tmp_path: Path, name: bytes) -> None:
    path = write_tiny_model(tmp_path / "age.onnx")
    path.write_bytes(path.read_bytes().replace(name, b"\x80" + name[1:]))
    assert refusal(path) == "its names or its metadata are not text"


def test_a_refused_model_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def empty(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            tensor.ClearField("raw_data")

    refusal(edited(tmp_path / "age.onnx", empty))
    assert capfd.readouterr() == ("", "")


def test_good_models_pass(tmp_path: Path) -> None:
    for path in (write_tiny_model(tmp_path / "age.onnx", coverage=0.9), write_quarters_model(tmp_path / "age.onnx")):
        check_model_file(path)
        check_model(path.read_bytes())


def computing_gigabytes(model: onnx.ModelProto) -> None:
    """Add a constant of 512 MB that no file holds: ONNX Runtime might compute it while it opens the file."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([2**27]), "shape"))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["shape"], ["much"]))
    model.graph.node.append(helper.make_node("ReduceMax", ["much"], ["most"], keepdims=0))
    model.graph.output.append(helper.make_tensor_value_info("most", TensorProto.FLOAT, []))


def test_opening_takes_little_memory_whatever_the_file_says(tmp_path: Path) -> None:
    edited(tmp_path / "compute.onnx", computing_gigabytes)
    long = json.dumps({METADATA_KEY: "x" * 100_000_000})
    write_tiny_model(tmp_path / "metadata.onnx", metadata=long)
    write_tiny_model(tmp_path / "good.onnx")
    code = (
        "import resource, sys\n"
        "from agedetect_runtime.errors import ModelError\n"
        "from agedetect_runtime.session import open_session\n"
        "open_session(sys.argv[1], device='cpu', threads=1)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for path in sys.argv[2:]:\n"
        "    try:\n        open_session(path, device='cpu', threads=1)\n"
        "    except ModelError:\n        pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    paths = [str(tmp_path / f"{name}.onnx") for name in ("good", "compute", "metadata")]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 50_000, f"{done.stdout} kB"
