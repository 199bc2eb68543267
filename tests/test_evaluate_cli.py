"""`agedetect evaluate` from the command line to its files, on drawn faces and models of a few nodes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from agedetect.cli import main
from agedetect.data.faces import read_faces
from agedetect.data.splits import Splits, split_faces
from agedetect_runtime.images import load_face
from tiny_models import age_by_hand, tiny_spec, write_tiny_model


@pytest.fixture(scope="module")
def splits(drawn_faces: Path) -> Splits:
    return split_faces(read_faces(drawn_faces).faces)


@pytest.fixture
def trained(tmp_path: Path, splits: Splits) -> Path:
    """A model file that says it was trained on the drawn faces."""
    return model_of(splits, tmp_path / "trained.onnx")


def model_of(splits: Splits, path: Path, *, bias: float = 1.0, seed: int = 0) -> Path:
    provenance = {
        "split": {"protocol": "holdout", "seed": seed, "fold": 0},
        "split_fingerprint": splits.fingerprint,
        "median_training_age": 31.5,
    }
    spec = replace(tiny_spec(coverage=0.9), provenance=provenance)
    return write_tiny_model(path, coverage=0.9, bias=bias, metadata=spec.to_json())


def evaluate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def test_a_model_is_evaluated_on_the_faces_it_never_saw(
    trained: Path, drawn_faces: Path, splits: Splits, tmp_path: Path
) -> None:
    done = evaluate(trained, drawn_faces, "--output", tmp_path / "report")
    assert done.exit_code == 0, done.output
    values = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    errors = [age_by_hand(load_face(face.path, 32, "bilinear")) - face.age for face in splits.test]
    assert values["n"] == len(splits.test)
    assert values["fingerprint"] == splits.test_fingerprint
    assert values["overall"]["mae"]["value"] == pytest.approx(np.abs(errors).mean(), abs=1e-4)
    assert values["median"]["age"] == 31.5
    assert values["context"]["nominal_coverage"] == 0.9
    assert values["leakage"]["test_files"] == len(splits.test)
    assert f"{len(splits.test)} faces: the test split of the model's own training run" in done.output
    assert f"{np.abs(errors).mean():.2f} (" in done.output
    page = (tmp_path / "report" / "evaluation.html").read_text()
    assert "<h1>Evaluation of trained.onnx</h1>" in page
    assert str(drawn_faces) not in page  # where it lay is nobody else's business


def test_other_faces_are_all_evaluated_and_that_is_said(trained: Path, tmp_path: Path, drawn_faces: Path) -> None:
    for face in sorted(drawn_faces.glob("*"))[:40]:
        (tmp_path / "some" / face.name).parent.mkdir(exist_ok=True)
        (tmp_path / "some" / face.name).write_bytes(face.read_bytes())
    done = evaluate(trained, tmp_path / "some", "--output", tmp_path / "report")
    assert done.exit_code == 0, done.output
    assert "40 faces: all of them, since they are not the faces of the model's training run" in done.output
    assert json.loads((tmp_path / "report" / "evaluation.json").read_text())["leakage"] is None


def test_two_models_are_compared_on_their_test_faces(
    trained: Path, splits: Splits, drawn_faces: Path, tmp_path: Path
) -> None:
    worse = model_of(splits, tmp_path / "worse.onnx", bias=90)
    done = evaluate(worse, trained, drawn_faces, "--output", tmp_path / "report")
    assert done.exit_code == 0, done.output
    values = json.loads((tmp_path / "report" / "comparison.json").read_text())
    difference = values["overall"]["first_mae"] - values["overall"]["second_mae"]
    assert f"trained.onnx is better by {difference:.2f} years (" in done.output
    assert values["fingerprint"] == splits.test_fingerprint


def test_models_of_two_splits_are_refused_in_one_line(
    trained: Path, splits: Splits, drawn_faces: Path, tmp_path: Path
) -> None:
    everyone = (*splits.train, *splits.validation, *splits.test)
    other = model_of(split_faces(everyone, seed=1), tmp_path / "other.onnx", seed=1)
    done = evaluate(trained, other, drawn_faces, "--output", tmp_path / "report")
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("Error: not comparable: ")
    assert not (tmp_path / "report").exists()


def test_two_files_of_one_name_are_told_apart(trained: Path, splits: Splits, drawn_faces: Path, tmp_path: Path) -> None:
    (tmp_path / "later").mkdir()
    later = model_of(splits, tmp_path / "later" / "trained.onnx", bias=60)
    done = evaluate(trained, later, drawn_faces, "--output", tmp_path / "report")
    assert "A: trained.onnx (A)\nB: trained.onnx (B)" in done.output


def test_test_time_flip_is_said(trained: Path, drawn_faces: Path, tmp_path: Path) -> None:
    done = evaluate(trained, drawn_faces, "--flip-tta", "--output", tmp_path / "report")
    assert done.exit_code == 0, done.output
    assert "mirror image" in (tmp_path / "report" / "evaluation.html").read_text()
    assert "mirror image" in done.output


def test_former_option_names_still_work(trained: Path, drawn_faces: Path, tmp_path: Path) -> None:
    done = evaluate(trained, drawn_faces, "--side", "validation", "--flip-average", "--output", tmp_path / "report")
    assert done.exit_code == 0, done.output
    values = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    assert values["context"]["split"] == "validation"
    assert "mirror image" in values["context"]["why"]
    assert "--side" not in CliRunner().invoke(main, ["evaluate", "--help"]).output


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "Missing argument"),
        (["a.onnx", "b.onnx", "c.onnx", "faces"], 2, "3 models: give one, or two to compare"),
        (["missing.onnx", "faces"], 1, "missing.onnx: cannot be read"),
        (["--split", "training", "a.onnx", "faces"], 2, "'training' is not one of"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(arguments: list[str], code: int, words: str) -> None:
    done = evaluate(*arguments)
    assert done.exit_code == code
    assert words in done.output


def test_a_split_that_the_data_does_not_give_is_refused(drawn_faces: Path, tmp_path: Path) -> None:
    done = evaluate(write_tiny_model(tmp_path / "age.onnx"), drawn_faces, "--split", "test")
    assert done.exit_code == 1
    assert "they have no test split of it: give the faces of the training run, or --split all" in done.output
