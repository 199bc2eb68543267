"""`agedetect-infer` as it is called: what it lists, writes, says at the end, and how it exits."""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import io
import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from agedetect_runtime.cli import main
from agedetect_runtime.spec import ModelSpec
from conftest import listen_to_ctrl_c, program
from tiny_images import save_noise
from tiny_models import tiny_spec, write_tiny_model

COMMAND = [sys.executable, "-c", "from agedetect_runtime.cli import main; main()"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "age.onnx")


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Three good images, grey 100, 20 and 60 (ages 36, 8 and 22), and an empty one."""
    folder = tmp_path / "faces"
    (folder / "more").mkdir(parents=True)
    for name, level in {"b.png": 100, "a.PNG": 20, "more/c.jpg": 60}.items():
        Image.new("RGB", (40, 40), (level,) * 3).save(folder / name)
    (folder / "empty.jpg").touch()
    return folder


def infer(*arguments: str | Path, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def test_a_folder_gives_a_row_an_image_in_the_order_of_paths(faces: Path, model: Path) -> None:
    done = infer(faces, "--onnx", model)
    assert done.exit_code == 0
    assert rows(done.stdout) == [
        ["file", "age", "low", "high", "error"],
        [f"{faces}/a.PNG", "8.0", "", "", ""],
        [f"{faces}/b.png", "36.0", "", "", ""],
        [f"{faces}/empty.jpg", "", "", "", "empty file"],
        [f"{faces}/more/c.jpg", "22.0", "", "", ""],
    ]


def test_the_closing_line_counts_and_names_the_device(faces: Path, model: Path) -> None:
    done = infer(faces, "--onnx", model, "--device", "cpu")
    (line,) = done.stderr.splitlines()
    assert line.startswith("4 images, 1 failed, ")
    assert line.endswith(" images/s on cpu (CPUExecutionProvider)")


def test_hidden_files_and_other_suffixes_are_left_out_of_folders_only(faces: Path, model: Path) -> None:
    (faces / ".hidden").mkdir()
    for name in (".hidden/d.png", ".e.png", "f.txt"):
        (faces / name).write_bytes((faces / "b.png").read_bytes())
    assert len(rows(infer(faces, "--onnx", model).stdout)) == 5
    named = rows(infer(faces / ".e.png", faces / "f.txt", "--onnx", model).stdout)
    assert [row[1] for row in named[1:]] == ["36.0", "36.0"]


def test_files_that_a_folder_omits_are_told_and_fail_a_strict_job(faces: Path, model: Path) -> None:
    (faces / "more" / "film.mov").touch()
    done = infer(faces / "more", "--onnx", model, "--strict")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"1 image, 0 failed, 1 file omitted by suffix ({faces / 'more' / 'film.mov'}), ")
    (faces / "more" / "film.mov").unlink()
    assert infer(faces / "more", "--onnx", model, "--strict").exit_code == 0


def test_arguments_keep_their_order_and_missing_paths_are_rows(faces: Path, model: Path) -> None:
    done = infer(faces / "more", "none.jpg", faces / "a.PNG", "--onnx", model)
    assert done.exit_code == 0
    assert [row[1] + row[4] for row in rows(done.stdout)[1:]] == ["22.0", "no such file", "8.0"]


def test_a_list_on_standard_input_is_one_path_a_line(faces: Path, model: Path) -> None:
    listed = f"{faces}/b.png\n\n{faces}/a.PNG\r\n{faces}\n{faces}/more/c.jpg".encode()
    done = infer("-", "--onnx", model, stdin=listed)
    assert [row[1] + row[4] for row in rows(done.stdout)[1:]] == ["36.0", "8.0", "is a folder", "22.0"]


def test_batch_size_and_threads_change_nothing(faces: Path, model: Path) -> None:
    outputs = {
        infer(faces, "--onnx", model, "--batch-size", size, "--threads", threads).stdout
        for size, threads in (("1", "1"), ("2", "3"), ("32", "1"), ("3", "2"))
    }
    assert len(outputs) == 1


def test_an_image_that_takes_too_long_is_given_up(model: Path, tmp_path: Path) -> None:
    Image.new("L", (10_000, 11_000)).save(tmp_path / "large.png", compress_level=1)  # takes a third of a second or more
    call = [*COMMAND, str(tmp_path / "large.png"), "--onnx", str(model), "--image-seconds", "0.02"]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60, check=False)
    assert rows(done.stdout)[1][-1] == "took longer than 0.02 s"


def test_no_limit_for_an_image_is_a_limit_too_and_no_number_is_none(faces: Path, model: Path) -> None:
    assert infer(faces, "--onnx", model, "--image-seconds", "inf").exit_code == 0
    refused = infer(faces, "--onnx", model, "--image-seconds", "nan")
    assert refused.exit_code == 2
    assert "nan is not a number" in refused.stderr


@pytest.mark.parametrize(
    ("closed", "arguments", "code", "said"),
    [
        ("<&-", "one.png", 0, "1 image, 0 failed"),
        ("<&-", "-", 1, "Error: -: standard input is closed\n"),
        (">&-", "one.png", 1, "Error: standard output is closed; choose a file with --output\n"),
        ("2>&-", "one.png", 0, ""),
    ],
)
def test_streams_that_a_scheduler_has_closed(
    model: Path, tmp_path: Path, closed: str, arguments: str, code: int, said: str
) -> None:
    save_noise(tmp_path / "one.png", 1)
    call = f"{shlex.join([*COMMAND, arguments, '--onnx', str(model)])} {closed}"
    done = subprocess.run(call, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (code, True, False)


def test_output_is_csv_or_json_lines_by_suffix(faces: Path, model: Path, tmp_path: Path) -> None:
    for suffix in ("csv", "jsonl"):
        done = infer(faces, "--onnx", model, "--output", tmp_path / f"ages.{suffix}")
        assert (done.exit_code, done.stdout) == (0, "")
    table = rows((tmp_path / "ages.csv").read_text())
    lines = [json.loads(line) for line in (tmp_path / "ages.jsonl").read_text().splitlines()]
    assert [line["age"] for line in lines] == [8.0, 36.0, None, 22.0]
    assert [line["file"] for line in lines] == [row[0] for row in table[1:]]


def test_intervals_fill_their_columns(faces: Path, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "age.onnx", coverage=0.9)
    assert rows(infer(faces / "b.png", "--onnx", model).stdout)[1][1:4] == ["36.0", "31.0", "41.0"]


def test_at_least_adds_the_chance_of_that_age(faces: Path, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "age.onnx", head="distribution")
    assert rows(infer(faces, "--onnx", model, "--at-least", "21").stdout) == [
        ["file", "age", "low", "high", "at_least_21", "error"],
        [f"{faces}/a.PNG", "8.0", "", "", "0.0", ""],
        [f"{faces}/b.png", "36.0", "", "", "1.0", ""],
        [f"{faces}/empty.jpg", "", "", "", "", "empty file"],
        [f"{faces}/more/c.jpg", "22.0", "", "", "0.812", ""],  # 13/16: of 22 +- 3 years all but 19 and 20
    ]
    infer(faces / "b.png", "--onnx", model, "--at-least", "36", "--output", tmp_path / "ages.jsonl")
    assert json.loads((tmp_path / "ages.jsonl").read_text())["at_least_36"] == 0.625  # 10/16: from the peak on


def about(path: Path, spec: ModelSpec) -> Result:
    return infer("--about", write_tiny_model(path, head=spec.head, coverage=spec.coverage, metadata=spec.to_json()))


def test_about_prints_the_model_card_whose_text_cannot_steer_the_terminal(tmp_path: Path) -> None:
    card = "# Ages of faces\n\n| test | MAE |\r\n|---|---|\n| n = 9 | 4.5 ± 0.2 |\n\x1b[2J\ud800\n\n\tlimits\n"
    done = about(tmp_path / "age.onnx", replace(tiny_spec(), card=card))
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == (
        "# Ages of faces\n\n| test | MAE |\n|---|---|\n| n = 9 | 4.5 ± 0.2 |\n\\x1b[2J\\ud800\n\n        limits\n"
    )


def test_about_a_model_without_a_card_lists_what_its_file_says(tmp_path: Path) -> None:
    figures = {"run_id": "0a1b", "test": {"images": 1863, "mae": 4.853612345, "by": [1, None]}, "note": "a\nb\x1b"}
    spec = replace(tiny_spec(coverage=0.9, head="distribution"), provenance=figures)
    done = about(tmp_path / "age.onnx", spec)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "backbone     tiny",
        "image size   32 x 32, resized bilinear",
        "head         distribution, ages 0 to 116",
        "intervals    90% nominal coverage",
        "precision    float32",
        "note         a\\nb\\x1b",
        "run_id       0a1b",
        "test.by      [1, null]",
        "test.images  1863",
        "test.mae     4.85361",
    ]
    assert "intervals   none" in about(tmp_path / "age.onnx", tiny_spec()).stdout


def test_a_card_is_printed_where_the_terminal_lacks_its_letters(tmp_path: Path) -> None:
    spec = replace(tiny_spec(), card="± 5 years")
    model = write_tiny_model(tmp_path / "age.onnx", metadata=spec.to_json())
    code, shown = on_terminal([*COMMAND, "--about", str(model)], PYTHONIOENCODING="ascii")
    assert (code, shown.splitlines()) == (0, ["\\xb1 5 years"])


def test_strict_makes_a_failed_image_exit_1(faces: Path, model: Path) -> None:
    done = infer(faces, "--onnx", model, "--strict")
    assert done.exit_code == 1
    assert len(rows(done.stdout)) == 5
    assert infer(faces / "b.png", "--onnx", model, "--strict").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument 'FACES...'"),
        (["face.jpg"], "Missing option '--onnx'"),
        (["face.jpg", "--onnx", "age.onnx", "--output", "ages.txt"], "not one of .csv, .jsonl, .json, .parquet"),
        (["face.jpg", "--onnx", "age.onnx", "--output", "ages"], "not one of .csv, .jsonl, .json, .parquet"),
        (["face.jpg", "--onnx", "age.onnx", "--format", "parquet"], "parquet needs a file"),
        (["face.jpg", "--onnx", "age.onnx", "--format", "xml"], "'xml' is not one of"),
        (["face.jpg", "--onnx", "age.onnx", "--output", "-", "--resume"], "it needs the --output of the interrupted"),
        (["face.jpg", "--onnx", "age.onnx", "--output", "a.csv", "--resume", "--force"], "omit one of them"),
        (["face.jpg", "--onnx", "age.onnx", "--device", "tpu"], "'tpu' is not one of"),
        (["face.jpg", "--onnx", "age.onnx", "--batch-size", "0"], "0 is not in the range x>=1"),
        (["face.jpg", "--onnx", "age.onnx", "--threads", "0"], "0 is not in the range x>=1"),
        (["face.jpg", "--onnx", "age.onnx", "--image-seconds", "0"], "0 is not in the range x>0"),
        (["face.jpg", "--onnx", "age.onnx", "--at-least", "0"], "0 is not in the range x>=1"),
        (["face.jpg", "--onnx", "age.onnx", "--at-least", "17.5"], "'17.5' is not a valid integer"),
    ],
)
def test_a_wrong_call_exits_2(arguments: list[str], words: str) -> None:
    done = infer(*arguments)
    assert done.exit_code == 2
    assert words in done.stderr


def test_a_job_that_cannot_be_done_exits_1_with_one_line(faces: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "notes.txt").touch()
    bad: dict[str, tuple[str | Path, ...]] = {
        f"{tmp_path}/bare: no images in this folder or below": (tmp_path / "bare", "--onnx", model),
        "none.onnx: cannot be read": (faces, "--onnx", tmp_path / "none.onnx"),
        "b.png: not an ONNX file": (faces, "--onnx", faces / "b.png"),
        "no paths on standard input": ("-", "--onnx", model),
        "age.onnx: it gives no probabilities": (faces, "--onnx", model, "--at-least", "18"),
        "none.onnx: cannot be read: no such file": ("--about", tmp_path / "none.onnx"),
        "empty.jpg: empty file": ("--about", faces / "empty.jpg"),
        "a.PNG: not an ONNX file": ("--about", faces / "a.PNG"),
        "cannot be written": (faces, "--onnx", model, "--output", tmp_path / "none" / "ages.csv"),
    }
    for words, arguments in bad.items():
        done = infer(*arguments, stdin=b"")
        assert done.exit_code == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith("Error: ")
        assert words in line


# A job in which nothing succeeded


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["faces/*.jpg"], "", "faces/*.jpg: no such file; a pattern in quotes, or one that matches nothing, stays"),
        (
            ["s3://faces/face.jpg"],
            "",
            "s3://faces/face.jpg: no such file; this is an address, not a file: download it first",
        ),
        (["faces.csv"], "", "faces.csv: not an image; give the paths of a table as a list: tail -n +2 faces.csv | cut"),
        (["list.txt"], "", "list.txt: not an image; give a list of paths on standard input: agedetect-infer - < list"),
        (["faces.zip"], "", "faces.zip: not an image; unpack the archive and give the folder"),
        (["none/face.jpg"], "", "none/face.jpg: no such file; check the path, which begins at "),
        (["/none/face.jpg"], "", "/none/face.jpg: no such file; check the path"),
        (["none/a.jpg", "none/b.jpg"], "", "none of 2 images could be used; none/a.jpg: no such file; check the path"),
        (["-"], "path,age\nfaces/b.png,36\n", "path,age: no such file; each line must be a path and nothing else"),
        (["-"], "b.png\n", "b.png: no such file; relative paths of the list begin at /"),
        (["-"], "faces\n", "faces: is a folder; give the folder as an argument, not in a list"),
        (["faces/empty.jpg"], "", "faces/empty.jpg: empty file"),
    ],
)
def test_a_job_in_which_nothing_succeeded_exits_1_and_says_why(
    faces: Path, model: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], stdin: str, said: str
) -> None:
    monkeypatch.chdir(faces.parent)
    for name in ("faces.csv", "list.txt", "faces.zip"):
        Path(name).write_text("path,age\nfaces/b.png,36\n")
    done = infer(*arguments, "--onnx", model, stdin=stdin.encode())
    closing, error = done.stderr.splitlines()
    assert done.exit_code == 1
    assert " failed, " in closing
    assert (
        error.removeprefix("Error: none of 2 images could be used; ")
        .removeprefix("Error: ")
        .startswith(said.removeprefix("none of 2 images could be used; "))
    )
    assert rows(done.stdout)[1][-1]  # the rows are there all the same


def test_a_resumed_job_in_which_nothing_succeeded_exits_1_too(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "ages.csv"
    infer("none.jpg", "--onnx", model, "--output", output)
    output.rename(tmp_path / "ages.csv.part")
    metadata = {"model": hashlib.sha256(model.read_bytes()).hexdigest(), "--at-least": None}
    version = {"version of agedetect": importlib.metadata.version("agedetect")}
    (tmp_path / "ages.csv.part.json").write_text(json.dumps(metadata | version))
    done = infer("none.jpg", "--onnx", model, "--output", output, "--resume")
    assert done.exit_code == 1
    assert "no image could be used; the reasons are in their rows" in done.stderr


# Where rows go


@pytest.mark.parametrize("form", ["csv", "jsonl", "json"])
def test_standard_output_has_any_format_that_streams(faces: Path, model: Path, tmp_path: Path, form: str) -> None:
    output = tmp_path / f"ages.{form}"
    infer(faces, "--onnx", model, "--output", output)
    assert infer(faces, "--onnx", model, "--format", form).stdout == output.read_text()
    assert infer(faces, "--onnx", model, "--format", form, "--output", "-").stdout == output.read_text()
    named = tmp_path / "ages.txt"
    infer(faces, "--onnx", model, "--format", form, "--output", named)
    assert named.read_bytes() == output.read_bytes()


def test_the_output_dash_is_csv_on_a_terminal_too(faces: Path, model: Path) -> None:
    code, shown = on_terminal([*COMMAND, str(faces / "b.png"), "--onnx", str(model), "--output", "-", "--quiet"])
    assert (code, shown.splitlines()) == (0, ["file,age,low,high,error", f"{faces}/b.png,36.0,,,"])


def test_an_output_that_exists_is_replaced_by_force_alone(faces: Path, model: Path, tmp_path: Path) -> None:
    output = tmp_path / "ages.csv"
    call = (faces, "--onnx", model, "--output", output)
    output.write_text("mine")
    refused = infer(*call)
    assert (refused.exit_code, output.read_text()) == (1, "mine")
    assert refused.stderr == f"Error: {output}: already exists; use --force to replace it, or choose another name\n"
    resumed = infer(*call, "--resume")
    assert (resumed.exit_code, output.read_text()) == (1, "mine")
    assert "is already complete; use --force instead to start over" in resumed.stderr
    assert infer(*call, "--force").exit_code == 0
    assert len(rows(output.read_text())) == 5


def test_a_quiet_strict_job_says_why_it_exits_1(faces: Path, model: Path) -> None:
    call = ("--onnx", model, "--strict", "--quiet")
    failed = infer(faces, *call)
    (faces / "more" / "film.mov").touch()
    omitted = infer(faces / "more", *call)
    assert (failed.exit_code, failed.stderr.startswith("4 images, 1 failed, ")) == (1, True)
    assert (omitted.exit_code, omitted.stderr.startswith("1 image, 0 failed, 1 file omitted by suffix")) == (1, True)
    assert infer(faces / "b.png", *call).stderr == ""


def test_the_files_of_the_job_itself_are_not_omitted(faces: Path, model: Path) -> None:
    folder = faces / "more"
    call = (folder, "--onnx", model, "--strict", "--output", folder / "ages.csv", "--report", folder / "ages.html")
    assert infer(*call).exit_code == 0
    done = infer(*call, "--force")
    assert (done.exit_code, "omitted" in done.stderr) == (0, False)
    for name in ("ages.csv", "ages.csv.part", "ages.csv.part.json"):
        (folder / name).write_bytes(b"")
    (folder / "ages.csv").unlink()
    resumed = infer(*call, "--resume")
    assert (resumed.exit_code, "omitted" in resumed.stderr) == (0, False)
    (folder / "more").mkdir()
    (folder / "more" / "ages.csv").touch()  # another's
    assert "1 file omitted by suffix" in infer(*call, "--force").stderr


@pytest.mark.parametrize(
    ("output", "report", "words"),
    [
        ("ages.csv", "more/../ages.csv", "ages.csv: --report would replace what --output needs"),
        ("ages.csv", "ages.csv.part", "ages.csv.part: --report would replace what --output needs"),
        ("ages.csv", "model.json", "model.json: --report would replace what --onnx needs"),
        ("model.json", "ages.html", "model.json: --output would replace what --onnx needs"),
        ("ages.csv", "link.html", "ages.csv: --report would replace what --output needs"),
    ],
)
def test_two_files_in_one_place_are_refused(faces: Path, model: Path, output: str, report: str, words: str) -> None:
    copy = faces / "model.json"
    copy.write_bytes(model.read_bytes())
    (faces / "link.html").symlink_to("ages.csv")
    done = infer(faces, "--onnx", copy, "--output", faces / output, "--report", faces / report, "--force")
    assert (done.exit_code, done.stderr) == (1, f"Error: {faces}/{words}; choose another name\n")
    assert copy.read_bytes() == model.read_bytes()
    assert not (faces / "ages.csv").exists()


def test_force_does_not_drop_the_rows_of_an_interrupted_job(faces: Path, model: Path, tmp_path: Path) -> None:
    part = tmp_path / "ages.csv.part"
    part.write_text("file,age,low,high,error\na.png,1.0,,,\n")
    done = infer(faces, "--onnx", model, "--output", tmp_path / "ages.csv", "--force")
    assert done.exit_code == 1
    assert "holds the rows of an interrupted job; use --resume to continue it" in done.stderr
    assert part.exists()


def test_parquet_without_pyarrow_says_what_to_install_before_any_work(model: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['pyarrow'] = None; from agedetect_runtime.cli import main; main()"
    call = [sys.executable, "-c", code, "face.jpg", "--onnx", str(model), "--output", str(tmp_path / "a.parquet")]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith("is not installed; pip install pyarrow, or choose .csv or .jsonl\n")
    assert not list(tmp_path.iterdir())


def test_quiet_says_errors_only(faces: Path, model: Path, tmp_path: Path) -> None:
    call = [*COMMAND, str(faces), "--onnx", str(model), "--output", str(tmp_path / "a.csv"), "--quiet"]
    assert on_terminal(call) == (0, "")
    code, shown = on_terminal(call)
    assert code == 1
    assert shown.startswith("Error: ")


@pytest.mark.parametrize(("typed", "offered"), [("--out", "--output"), ("--format=pa", "parquet")])
def test_the_shell_completes_options_and_their_values(typed: str, offered: str) -> None:
    settings = {
        "_AGEDETECT_INFER_COMPLETE": "bash_complete",
        "COMP_WORDS": f"agedetect-infer {typed}",
        "COMP_CWORD": "1",
    }
    call = [program("agedetect-infer")]
    done = subprocess.run(call, env={**os.environ, **settings}, capture_output=True, text=True, timeout=60, check=False)
    assert f"plain,{offered}" in done.stdout.splitlines()


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this wheel has CUDA")
def test_cuda_without_cuda_is_an_error_and_nothing_is_written(faces: Path, model: Path, tmp_path: Path) -> None:
    done = infer(faces, "--onnx", model, "--device", "cuda", "--output", tmp_path / "ages.csv")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: device cuda: this ONNX Runtime has no CUDA provider; ")
    assert not (tmp_path / "ages.csv").exists()


def test_pillows_warnings_stay_off_stderr(tmp_path: Path, model: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "a.tif")
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:100])
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    save_noise(tmp_path / "b.png", 1)
    call = [*COMMAND, str(tmp_path), "--onnx", str(model)]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr.startswith("2 images, 1 failed, ")
    assert len(done.stderr.splitlines()) == 1


def test_names_that_are_not_utf8_are_no_trouble(tmp_path: Path, model: Path) -> None:
    folder = os.fsencode(tmp_path)
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(os.fsdecode(folder + b"/\xe9\n.png"))
    for encoding in ("utf-8", "ascii"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        call: list[str | bytes] = [*COMMAND, folder, "--onnx", str(model)]
        done = subprocess.run(call, env=environment, capture_output=True, check=True)
        assert rows(done.stdout.decode(encoding))[1] == [f"{tmp_path}/\\xe9\n.png", "1.0", "", "", ""]


def on_terminal(call: list[str], **settings: str) -> tuple[int, str]:
    """Run with stdout and stderr on one terminal: the exit code and what it shows."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "70", **settings}
    with subprocess.Popen(call, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # how Linux says that the other end is closed
                break
    os.close(ours)
    return process.returncode, shown.decode()


def test_a_terminal_shows_a_table(faces: Path, model: Path) -> None:
    code, shown = on_terminal([*COMMAND, str(faces), "--onnx", str(model)])
    lines = shown.splitlines()
    assert code == 0
    assert lines[0].split() == ["file", "age"]
    assert lines[2].split()[-1] == "36.0"
    assert lines[3].endswith("-  empty file")
    assert lines[5].startswith("4 images, 1 failed, ")
    assert len(lines) == 6


def test_a_terminal_shows_intervals_and_the_chance_of_an_age(faces: Path, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "age.onnx", head="distribution", coverage=0.9)
    code, shown = on_terminal([*COMMAND, str(faces / "more"), "--onnx", str(model), "--at-least", "21"])
    heading, row, closing = shown.splitlines()
    assert code == 0
    assert heading.split() == ["file", "age", "(90%)", ">=21"]
    assert row.endswith(" 22 (17-27)     0.81")
    assert closing.startswith("1 image, 0 failed, ")


def test_a_terminal_shows_progress_where_the_ages_go_into_a_file(faces: Path, model: Path, tmp_path: Path) -> None:
    code, shown = on_terminal([*COMMAND, str(faces), "--onnx", str(model), "--output", str(tmp_path / "a.csv")])
    assert code == 0
    assert "4/4" in shown
    assert len(rows((tmp_path / "a.csv").read_text())) == 5


def test_a_list_in_a_file_has_a_total_and_one_in_a_pipe_has_none(faces: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{faces}/b.png\n\n{faces}/a.PNG\r\n{faces}/more/c.jpg")
    call = shlex.join([*COMMAND, "-", str(faces / "b.png"), "--onnx", str(model), "--output", str(tmp_path / "a.csv")])
    code, shown = on_terminal(["sh", "-c", f"{call} < {tmp_path}/list.txt"])
    assert (code, "4/4" in shown) == (0, True)
    assert "4 images, 0 failed" in shown
    code, shown = on_terminal(["sh", "-c", f"cat {tmp_path}/list.txt | {call} --force"])
    assert (code, "4/4" in shown) == (0, False)
    assert "4 images, 0 failed" in shown


def test_a_closed_pipe_is_quiet(faces: Path, model: Path) -> None:
    listed = f"{faces}/b.png\n".encode() * 3000
    call = [*COMMAND, "-", "--onnx", str(model), "--batch-size", "1"]
    with subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(listed[: 300 * len(listed) // 3000])
        process.stdin.flush()
        assert process.stdout.readline() == b"file,age,low,high,error\n"
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_job_leaves_the_old_file(faces: Path, model: Path, tmp_path: Path, stop: signal.Signals) -> None:
    output = tmp_path / "out" / "ages.csv"
    output.parent.mkdir()
    output.write_text("old")
    call = [*COMMAND, "-", "--onnx", str(model), "--output", str(output), "--force"]
    pipe = subprocess.PIPE
    with subprocess.Popen(call, stdin=pipe, stderr=pipe, preexec_fn=listen_to_ctrl_c) as process:
        deadline = time.monotonic() + 60
        while not output.with_name("ages.csv.part.json").exists():  # it has begun, and waits for paths
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(stop)
        _, told = process.communicate()
    assert output.read_text() == "old"
    assert told == b""
    assert process.returncode == (130 if stop is signal.SIGINT else -signal.SIGKILL)
    if stop is signal.SIGINT:
        assert list(output.parent.iterdir()) == [output]


def test_version_is_the_distributions() -> None:
    done = infer("--version")
    assert done.exit_code == 0
    assert importlib.metadata.version("agedetect") in done.stdout
