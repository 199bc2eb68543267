"""Which model becomes the champion: judged on predictions, and written in a real registry."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import mlflow
import numpy as np
import pytest
from click.testing import CliRunner, Result
from mlflow import MlflowClient
from numpy.typing import NDArray

from agedetect.cli import main
from agedetect.errors import DataError
from agedetect.evaluation.predictions import Predictions, read_predictions, write_predictions
from agedetect.evaluation.promotion import Judgement, judge
from agedetect.tracking import promotion
from agedetect.tracking.exported import register_export
from agedetect.tracking.promotion import Decision
from agedetect.tracking.reading import load_registered_model
from agedetect.tracking.registry import register
from export_source import small_spec
from export_store import log_small_model, tracking
from imaginary_faces import imaginary_faces
from registered_pictures import NAME, write_licensed_model

AGES = np.random.default_rng(0).uniform(1, 80, 600)
FACES = imaginary_faces(AGES.tolist(), groups=True)
IS_BLACK = np.array([face.race == "Black" for face in FACES])  # 120 of them
NOISE = np.random.default_rng(1).normal(0, 1, len(AGES))


def answers(error: NDArray[np.float64], half_width: float = 10.0) -> Predictions:
    age = AGES + error
    return Predictions.of(FACES, age, age - half_width, age + half_width)


CHAMPION = answers(5 * NOISE)


def judgement(challenger: Predictions, margin: float = 0.25) -> Judgement:
    return judge(challenger, CHAMPION, names=("B", "A"), nominal_coverage=0.9, margin=margin)


def test_a_better_model_has_no_objections() -> None:
    assert judgement(answers(4 * NOISE)).favourable


def test_no_difference_is_no_reason_to_change() -> None:
    other = answers(5 * np.random.default_rng(2).normal(0, 1, len(AGES)))
    (objection,) = judgement(other).objections
    assert objection.startswith("its MAE is not significantly lower: ")


def test_a_model_that_pays_for_its_mean_with_one_group_is_refused() -> None:
    challenger = answers(np.where(IS_BLACK, 7, 3) * NOISE)
    (objection,) = judgement(challenger).objections
    assert objection.startswith("Black: MAE of 4.")
    assert objection.endswith("n=120")
    assert judgement(challenger, margin=3).favourable


def test_a_small_group_decides_nothing() -> None:
    small = IS_BLACK & (np.cumsum(IS_BLACK) <= 40)
    faces = [replace(face, race="Black" if flag else "White") for face, flag in zip(FACES, small, strict=True)]
    error = np.where(small, 9, 3) * NOISE
    one, other = (Predictions.of(faces, AGES + value) for value in (error, 5 * NOISE))
    assert judge(one, other, names=("B", "A"), nominal_coverage=None).favourable


def test_intervals_that_break_their_promise_are_refused() -> None:
    (objection,) = judgement(answers(4 * NOISE, half_width=5)).objections
    assert objection.startswith("its intervals contain 82.5% of the ages (79.3% to 85.3%)")
    assert objection.endswith("not the 90% that they promise")


def test_predictions_are_read_back_to_the_last_digit(tmp_path: Path) -> None:
    faces = [replace(FACES[0], near="one photograph"), *FACES[1:]]
    written = Predictions.of(faces, CHAMPION.age, CHAMPION.low, CHAMPION.high)
    write_predictions(written, tmp_path / "predictions.csv")
    read = read_predictions(tmp_path / "predictions.csv")
    assert read.faces == written.faces
    assert read.low is not None
    assert read.high is not None
    for ours, theirs in ((read.age, written.age), (read.low, written.low), (read.high, written.high)):
        assert np.array_equal(ours, theirs)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "path,true\na,1\n", "path,true,gender,race,digest,width\na,old,,,0,8\n"])
def test_another_table_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "predictions.csv").write_text(text)
    with pytest.raises(DataError, match=r"predictions.csv: not a table of predictions"):
        read_predictions(tmp_path / "predictions.csv")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[MlflowClient]:
    with tracking(f"sqlite:///{quote(str(tmp_path / 'mlflow.db'))}"):
        client = MlflowClient()
        client.create_experiment("agedetect", artifact_location=(tmp_path / "artifacts").as_uri())
        yield client


def add_version(predictions: Predictions | None) -> None:
    """A run with a model, and the test predictions that it claims to have made."""
    (experiment,) = MlflowClient().search_experiments(filter_string="name = 'agedetect'")
    with mlflow.start_run(experiment_id=experiment.experiment_id) as run, tempfile.TemporaryDirectory() as folder:
        if predictions is not None:
            write_predictions(predictions, Path(folder) / "predictions.csv")
            mlflow.log_artifact(str(Path(folder) / "predictions.csv"), "evaluation")
        spec = replace(small_spec(run.info.run_id), card="# The card\n\nIts figures.")
        register(log_small_model(spec, run.info), "agedetect", spec)


def promote(*options: str) -> Result:
    return CliRunner().invoke(main, ["promote", *options])


def champion(client: MlflowClient) -> str | None:
    found = client.get_registered_model("agedetect").aliases.get("champion")
    return None if found is None else str(found)


def test_the_life_of_a_champion(client: MlflowClient) -> None:
    add_version(CHAMPION)
    done = promote()
    assert (done.exit_code, champion(client)) == (3, None)
    assert "no champion to compare it with: --first makes it the first" in done.output
    assert promote("--first", "--dry-run").exit_code == 0
    assert champion(client) is None
    assert promote("--first").exit_code == 0
    assert champion(client) == "1"
    done = promote()
    assert (done.exit_code, ": it is the champion already" in done.output) == (0, True)

    add_version(answers(6 * NOISE))
    done = promote()
    assert (done.exit_code, champion(client)) == (3, "1")
    refused = client.get_model_version("agedetect", "2")
    assert refused.tags["promotion"] == "refused"
    assert "not significantly lower" in refused.tags["promotion_reason"]
    assert re.fullmatch(r"## Promotion\n\nRefused on \S+: .+\n\n# The card\n\nIts figures.", refused.description or "")

    add_version(answers(4 * NOISE))
    dry = promote("--dry-run")
    assert (dry.exit_code, champion(client)) == (0, "1")
    assert "would be the champion: agedetect version 3 is better by" in dry.output
    assert "promotion" not in client.get_model_version("agedetect", "3").tags
    assert promote("models:/agedetect/3").exit_code == 0
    promoted = client.get_model_version("agedetect", "3")
    assert champion(client) == "3"
    assert (promoted.tags["promotion"], promoted.tags["champion_before"]) == ("promoted", "1")

    done = promote("--rollback")
    assert (done.exit_code, champion(client)) == (0, "1")
    assert client.get_model_version("agedetect", "3").tags["promotion"] == "rolled back"
    again = client.get_model_version("agedetect", "3").description or ""
    assert again.count("## Promotion") == again.count("# The card") == 1
    done = promote("models:/agedetect", "--rollback")
    assert (done.exit_code, done.stderr) == (
        1,
        "Error: agedetect version 1: it was not promoted over another version\n",
    )


def test_the_alias_of_the_export_follows(client: MlflowClient, tmp_path: Path) -> None:
    file = write_licensed_model(tmp_path / "model.onnx")

    def champion_of_exports() -> str:
        return str(client.get_registered_model(NAME).aliases.get("champion"))

    for number, answer in enumerate((CHAMPION, answers(4 * NOISE)), 1):
        add_version(answer)
        register_export(load_registered_model("models:/agedetect@candidate"), file, NAME)
        done = promote(*(["--first"] if number == 1 else []))
        assert done.stdout.endswith(f"the champion, too: models:/{NAME}/{number}\n")
        assert champion_of_exports() == str(number)
    assert promote("--rollback").exit_code == 0
    assert champion_of_exports() == "1"

    add_version(answers(3 * NOISE))  # without an export: what was served as the champion no longer is
    assert f"models:/{NAME} has no champion now: register an export of version 3" in promote().stdout
    assert champion_of_exports() == "None"
    description = client.get_model_version("agedetect", "2").description or ""
    assert description.count("## Promotion") == description.count("Exported as") == 1

    client.delete_model_version(NAME, "1")  # which stops no rollback
    assert promote("--rollback").exit_code == 0
    assert (champion(client), champion_of_exports()) == ("1", "None")


def test_a_command_that_is_killed_between_its_aliases_does_the_rest_when_it_is_given_again(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_licensed_model(tmp_path / "model.onnx")
    for name, answer in ((NAME, CHAMPION), ("other-onnx", answers(4 * NOISE))):
        add_version(answer)
        register_export(load_registered_model("models:/agedetect@candidate"), file, name)
    assert promote("models:/agedetect/1", "--first").exit_code == 0

    def champions() -> tuple[str | None, ...]:
        names = ("agedetect", NAME, "other-onnx")
        found = [client.get_registered_model(name).aliases.get("champion") for name in names]
        return tuple(version and str(version) for version in found)

    def kill_after(moves: int, command: Callable[[], Decision]) -> None:
        """An interrupt stands for the kill: nothing of ours catches it, so nothing is done or undone after it."""
        left = iter(range(moves))

        def before(move: Callable[..., None]) -> Callable[..., None]:
            def or_die(*arguments: object) -> None:
                if next(left, None) is None:
                    raise KeyboardInterrupt
                move(*arguments)

            return or_die

        with monkeypatch.context() as patch:
            for name in ("set_registered_model_alias", "delete_registered_model_alias"):
                patch.setattr(MlflowClient, name, before(getattr(MlflowClient, name)))
            with pytest.raises(KeyboardInterrupt):
                command()

    commands: dict[tuple[str | None, ...], Callable[[], Decision]] = {
        ("2", None, "1"): lambda: promotion.promote("models:/agedetect/2"),
        ("1", "1", None): lambda: promotion.rollback("agedetect"),
    }
    for moves in (1, 2):
        for wanted, command in commands.items():
            kill_after(moves, command)
            command()
            assert champions() == wanted


def test_what_cannot_be_compared_is_one_line_and_changes_nothing(client: MlflowClient) -> None:
    add_version(CHAMPION)
    assert promote("--first").exit_code == 0
    add_version(Predictions.of(FACES[1:], AGES[1:]))
    done = promote()
    assert (done.exit_code, done.stdout, champion(client)) == (1, "", "1")
    assert done.stderr.startswith("Error: not comparable: agedetect version 2 was evaluated on the faces")
    add_version(None)
    done = promote()
    assert (done.exit_code, done.stdout, champion(client)) == (1, "", "1")
    assert "agedetect version 3: its run has no test predictions" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_name_that_nobody_registered_is_one_line(client: MlflowClient) -> None:
    for options in ([], ["--rollback"]):
        done = promote(*options)
        assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
        assert "models:/agedetect" in done.stderr
