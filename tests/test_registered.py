"""What is registered is data: whatever a folder holds, loading it gives the model or one line, and runs nothing."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from agedetect.models.description import MAX_IMAGE_SIZE
from agedetect.models.registered import CARD, DESCRIPTION, WEIGHTS, load_registered, save_registered
from agedetect.tracking.reading import load_registered_model
from agedetect_runtime import ModelError
from conftest import ROOT
from export_source import SIZE, draw_pixels, small_model, small_spec

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registered") / "age_model"
    save_registered(small_model(backbone="mobilenet_v2"), small_spec(backbone="mobilenet_v2"), folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy to be damaged; the weights are a hard link until a test writes others."""
    copy = tmp_path / "age_model"
    copy.mkdir()
    for path in saved.iterdir():
        (copy / path.name).hardlink_to(path)
    return copy


def replace(path: Path, content: str | bytes) -> None:
    path.unlink()
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def edit(folder: Path, change: Edit) -> None:
    values = json.loads((folder / DESCRIPTION).read_text())
    change(values)
    replace(folder / DESCRIPTION, json.dumps(values))


def refused(folder: Path) -> str:
    """The one line of a refusal."""
    with pytest.raises(ModelError) as caught:
        load_registered(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600  # however large the value that was given
    assert "train it again with `agedetect train`" in message
    return message


@pytest.mark.parametrize("head", ["distribution", "regression"])
def test_a_model_comes_back_as_it_was_saved(head: str, tmp_path: Path) -> None:
    model, spec = small_model(head), small_spec(head=head)
    save_registered(model, spec, tmp_path / "saved")
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == sorted([CARD, DESCRIPTION, WEIGHTS])
    found, found_spec = load_registered(tmp_path / "saved")
    assert found_spec == spec
    assert not found.training
    faces = draw_pixels(5, SIZE)
    for one, other in zip(model.predict(faces), found.predict(faces), strict=True):
        np.testing.assert_array_equal(one, other)  # the same bits: nothing was converted on the way


def test_the_attack_that_ran_a_shell_command_runs_nothing(tmp_path: Path) -> None:
    """A torch.export archive whose `expr_str` opens a shell, registered as earlier versions did.

    Loading such a file with torch makes `sprung`, which the second half shows; ours is refused unopened.
    """
    sprung = tmp_path / "sprung"
    model_folder = tmp_path / "model"
    (model_folder / "data").mkdir(parents=True)
    (model_folder / "MLmodel").write_text("flavors: {pytorch: {model_data: data}}\n")
    archive = model_folder / "data" / "model.pt2"
    program = torch.export.export(
        torch.nn.Flatten(), (torch.zeros(3, 2),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    torch.export.save(program, archive)
    attack = f"__import__('os').mkdir({str(sprung)!r})"
    poison(archive, attack)
    with pytest.raises(ModelError, match=r"it holds a program .*: programs are not loaded; train it again"):
        load_registered_model(str(model_folder))
    assert not sprung.exists()
    # The attack is real: torch, left to itself, walks into it, and then fails or not.
    code = f"import torch\ntry:\n    torch.export.load({str(archive)!r})\nexcept Exception as error:\n    print(error)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=120)
    assert sprung.exists()


def poison(archive: Path, expression: str) -> None:
    """Put `expression` into every symbolic expression of a torch.export archive."""
    with zipfile.ZipFile(archive) as file:
        records = {name: file.read(name) for name in file.namelist()}

    def rewrite(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: expression if key == "expr_str" else rewrite(item) for key, item in value.items()}
        return [rewrite(item) for item in value] if isinstance(value, list) else value

    poisoned = 0
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in records.items():
            if name.endswith(".json") and b"expr_str" in content:
                content = json.dumps(rewrite(json.loads(content))).encode()
                poisoned += 1
            file.writestr(name, content)
    assert poisoned, "torch.export writes its symbolic sizes as expr_str"


WRONG_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    1e308,
    10**400,
    "",
    "__import__('os').system('touch sprung')",
    "../../../etc/passwd",
    [],
    {},
    [[[]]],
    {"expr_str": "1"},
)
FIELDS = ("format", "backbone_arguments", "difficulty_knots", "flip_tta", "spec")
SPEC_FIELDS = (
    *("image_size", "resampling", "backbone", "min_age", "max_age", "precision"),
    *("coverage", "head", "card", "provenance", "schema"),
)
# Values among the wrong ones that are right for a field: JSON's own, and text where any text will do.
HARMLESS = {
    ("flip_tta", "true"),
    ("backbone_arguments", "{}"),
    ("card", '""'),
    ("card", json.dumps(WRONG_VALUES[6])),
    ("card", json.dumps(WRONG_VALUES[7])),
    ("provenance", "{}"),
    ("provenance", json.dumps(WRONG_VALUES[-1])),
    ("schema", "true"),
}


@pytest.mark.parametrize("field", [*FIELDS, *(f"spec.{name}" for name in SPEC_FIELDS)])
def test_an_attack_through_each_field_is_one_line(field: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    place, _, name = field.rpartition(".")
    original = json.loads((folder / DESCRIPTION).read_text())
    assert name in (original[place] if place else original)
    refusals = 0
    for value in WRONG_VALUES:
        changed = json.loads(json.dumps(original))
        (changed[place] if place else changed)[name] = value
        replace(folder / DESCRIPTION, json.dumps(changed))
        if (name, json.dumps(value)) in HARMLESS:
            load_registered(folder)
            continue
        assert refused(folder).startswith((f"{DESCRIPTION}: ", f"{WEIGHTS}: "))
        refusals += 1
    assert refusals >= len(WRONG_VALUES) - 4
    assert not (folder / "sprung").exists()


@pytest.mark.parametrize("name", [*FIELDS, *(name for name in SPEC_FIELDS if name not in ("card", "provenance"))])
def test_a_missing_field_is_one_line(name: str, folder: Path) -> None:
    has_default = {"precision", "head"}
    edit(folder, lambda values: (values if name in FIELDS else values["spec"]).pop(name))
    if name in has_default - {"head"}:
        load_registered(folder)
    else:
        assert refused(folder).startswith(f"{DESCRIPTION}: ")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda values: values.update(code="print()"), "its fields are not"),
        (lambda values: values["spec"].update(image_size=MAX_IMAGE_SIZE + 1), "is more than 1024"),
        (lambda values: values["spec"].update(backbone="timm/evil"), "is no architecture of this timm"),
        (lambda values: values["spec"].update(backbone="resnet34"), "does not fit the network: lacks"),
        (lambda values: values["spec"].update(resampling="bicubic"), "is not that of mobilenet_v2"),
        (lambda values: values["spec"].update(max_age=10.0**5), "are not 0 to 116"),
        (lambda values: values["spec"].update(head="regression"), "does not go with"),
        (lambda values: values.update(difficulty_knots=10**9), "neither 0 nor from 2 to 16"),
        (lambda values: values.update(difficulty_knots=2), "does not go with"),
        (lambda values: values.update(format=2), "its format is unknown"),
    ],
)
def test_a_description_of_another_network_is_refused(change: Edit, reason: str, folder: Path) -> None:
    edit(folder, change)
    assert reason in refused(folder)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("[" * 200_000, "not JSON"),
        ('{"spec": ' * 50_000, "not JSON"),
        ("[1]", "not a JSON object"),
        (" " * (16 * 2**20 + 1), "more than 16,777,216 bytes"),
        ("\xff", "its fields are not"),
    ],
)
def test_a_description_that_is_none_is_refused(text: str, reason: str, folder: Path) -> None:
    replace(folder / DESCRIPTION, text.encode("latin-1"))
    assert refused(folder).startswith(f"{DESCRIPTION}: ")
    assert reason in refused(folder) or "not JSON" in refused(folder)


def test_provenance_that_is_no_provenance_harms_nobody(folder: Path) -> None:
    """It is free JSON, and what reads it takes nothing on trust: a run's id, a split, a median."""
    odd = {"run_id": "../../other", "split": {"protocol": [], "seed": {}}, "median_training_age": 10**400}
    edit(folder, lambda values: values["spec"].update(provenance=odd))
    model = load_registered_model(str(folder))
    assert model.run_id is None
    assert not model.tracked


STATE_CHANGES: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "has unknown 'extra'": lambda state: state.update(extra=torch.zeros(3)),
    "lacks 'conformal.scale'": lambda state: state.pop("conformal.scale"),
    "another shape or type for 'conformal.scale'": lambda state: state.update({"conformal.scale": torch.zeros(7)}),
    "another shape or type for 'model.std'": lambda state: state.update(
        {"model.std": torch.ones(1, 3, 1, 1, dtype=torch.float64)}
    ),
    "model.head.4.bias holds numbers that are not finite": lambda state: state["model.head.4.bias"].fill_(float("nan")),
    "model.mean holds numbers that are not finite": lambda state: state["model.mean"].fill_(float("inf")),
}


@pytest.mark.parametrize("reason", STATE_CHANGES)
def test_weights_of_another_network_are_refused(reason: str, folder: Path) -> None:
    state = load_file(folder / WEIGHTS)
    STATE_CHANGES[reason](state)
    (folder / WEIGHTS).unlink()
    save_file(state, folder / WEIGHTS)
    assert reason in refused(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x07",
        struct.pack("<Q", 2 << 30),  # a header of 2 GB in a file of 8 bytes
        struct.pack("<Q", 2 << 30) + b"{" * 1000,
        struct.pack("<Q", 2**64 - 1) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 6) + b"[[[[[[",
        struct.pack("<Q", 2**20 + 1) + b" " * (2**20 + 1),
        struct.pack("<Q", 80) + b'{"a":{"dtype":"F32","shape":[1073741824,1024],"data_offsets":[0,4398046511104]}}',
    ],
)
def test_a_file_that_holds_no_weights_is_refused(content: bytes, folder: Path) -> None:
    replace(folder / WEIGHTS, content)
    assert refused(folder).startswith(f"{WEIGHTS}: ")


def test_a_cut_file_is_refused(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    replace(folder / WEIGHTS, content[: len(content) // 2])
    assert refused(folder).startswith(f"{WEIGHTS}: ")


@pytest.mark.parametrize("name", [DESCRIPTION, WEIGHTS])
def test_a_missing_file_and_a_pipe_are_refused(name: str, folder: Path) -> None:
    (folder / name).unlink()
    assert refused(folder).startswith(f"{name}: No such file")
    os.mkfifo(folder / name)  # which would be waited for forever
    assert refused(folder).startswith(f"{name}: not a regular file")


def test_nothing_is_allocated_beyond_what_the_file_holds(folder: Path) -> None:
    """A process of little memory refuses a file that claims much: the claim is compared before it is believed."""
    header = {"model.mean": {"dtype": "F32", "shape": [1, 3, 2**20, 2**20], "data_offsets": [0, 12 * 2**40]}}
    text = json.dumps(header).encode()
    replace(folder / WEIGHTS, struct.pack("<Q", len(text)) + text)
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from agedetect.models.registered import load_registered\n"
        "from agedetect_runtime import ModelError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    load_registered(Path(sys.argv[1]))\n"
        "except ModelError as error:\n    print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, check=False, cwd=ROOT, timeout=120
    )
    message, kilobytes = done.stdout.splitlines()
    assert message.startswith(f"{WEIGHTS}: ")
    # The skeleton of the network has no storage; importing safetensors' reader takes some megabytes, the claim 12 TB.
    assert int(kilobytes) < 100_000
