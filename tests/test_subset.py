"""Which faces a model is evaluated on: never those that trained it, unless it is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from agedetect.data.faces import Face, FaceSet
from agedetect.data.splits import split_faces
from agedetect.errors import DataError
from agedetect.evaluation.subset import choose_faces, faces_for_both, own_split
from imaginary_faces import imaginary_face, imaginary_faces
from tiny_models import tiny_spec

FACES = imaginary_faces([float(age) for age in range(1, 101)])


def face_set(faces: Sequence[Face] = FACES) -> FaceSet:
    return FaceSet(tuple(faces), (), "/data/faces")


def spec_of(protocol: str = "holdout", seed: int = 0, fold: int = 0, faces: Sequence[Face] = FACES) -> Any:
    splits = split_faces(faces, seed=seed, protocol=protocol, fold=fold)
    split = {"protocol": protocol, "seed": seed, "fold": fold}
    return replace(tiny_spec(), provenance={"split": split, "split_fingerprint": splits.fingerprint})


@pytest.mark.parametrize(("protocol", "seed", "fold"), [("holdout", 0, 0), ("holdout", 3, 0), ("folds5", 1, 4)])
def test_on_its_own_data_a_model_is_evaluated_on_its_test_split(protocol: str, seed: int, fold: int) -> None:
    chosen = choose_faces(face_set(), spec_of(protocol, seed, fold))
    splits = split_faces(FACES, seed=seed, protocol=protocol, fold=fold)
    assert chosen.split == "test"
    assert chosen.faces == splits.test
    assert not {face.digest for face in chosen.faces} & {face.digest for face in splits.train}


def test_a_protocol_of_some_ages_has_a_test_split_of_those() -> None:
    chosen = choose_faces(face_set(), spec_of("ages21-60"))
    assert all(21 <= face.age <= 60 for face in chosen.faces)


def test_a_file_that_names_no_split_is_of_the_default_one() -> None:
    fingerprint = split_faces(FACES).fingerprint
    assert own_split(FACES, {"split_fingerprint": fingerprint}) == split_faces(FACES)


def test_on_other_data_all_faces_are_evaluated_and_that_is_said() -> None:
    others = imaginary_faces([5.0] * 30)
    chosen = choose_faces(face_set(others), spec_of())
    assert (chosen.split, chosen.faces, chosen.splits) == ("all", tuple(others), None)
    assert "are not the faces of the model's training run" in chosen.why
    assert "doesn't say what trained it" in choose_faces(face_set(others), tiny_spec()).why


def test_one_face_more_is_other_data() -> None:
    assert choose_faces(face_set([*FACES, imaginary_face(50, 999)]), spec_of()).splits is None


def test_training_faces_are_judged_only_when_asked_for_and_named() -> None:
    chosen = choose_faces(face_set(), spec_of(), "all")
    assert len(chosen.faces) == 100
    assert "80 of which TRAINED the model" in chosen.why


@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_split_that_the_data_does_not_give_is_refused(split: str) -> None:
    with pytest.raises(DataError, match=f"so they have no {split} split of it"):
        choose_faces(face_set(FACES[:50]), spec_of(), split)


@pytest.mark.parametrize("split", [{"protocol": "unheard of"}, {"seed": "0"}, {"fold": None}, "holdout", None])
def test_a_strange_record_of_the_split_is_no_split(split: Any) -> None:
    provenance = {"split": split, "split_fingerprint": "f" * 32}
    assert own_split(FACES, provenance) is None


def test_a_model_that_trained_on_near_duplicates_keeps_its_test_split() -> None:
    dealt = split_faces(FACES)
    photograph = {dealt.test[0], dealt.train[0]}
    faces = [replace(face, near="f" * 32) if face in photograph else face for face in FACES]
    old, new = spec_of(), spec_of(faces=faces)  # the first was trained when nothing was known of near-duplicates
    assert old.provenance["split_fingerprint"] != new.provenance["split_fingerprint"]
    for spec, trained in ((old, 80), (new, 79)):
        chosen = choose_faces(face_set(faces), spec)
        assert chosen.splits
        assert (chosen.split, len(chosen.splits.train)) == ("test", trained)
        assert len(choose_faces(face_set(faces), spec, "all").faces) == 100
    assert len(faces_for_both(face_set(faces), [old, new]).faces) == 10


def test_two_models_of_one_split_meet_on_its_test_split() -> None:
    assert faces_for_both(face_set(), [spec_of(), spec_of()]).faces == split_faces(FACES).test


def test_two_models_meet_on_faces_new_to_both() -> None:
    others = imaginary_faces([5.0] * 30)
    assert faces_for_both(face_set(others), [spec_of(), spec_of(seed=1)]).faces == tuple(others)


@pytest.mark.parametrize(
    "second",
    [spec_of(seed=1), spec_of("folds5"), spec_of(faces=FACES[:90]), tiny_spec()],
    ids=["another seed", "another protocol", "other faces", "no record"],
)
def test_models_of_two_splits_are_not_compared(second: Any) -> None:
    with pytest.raises(DataError, match="not comparable: ") as caught:
        faces_for_both(face_set(), [spec_of(), second])
    assert "\n" not in str(caught.value)


def test_training_faces_are_no_ground_for_a_comparison() -> None:
    with pytest.raises(DataError, match="omit --split all"):
        faces_for_both(face_set(), [spec_of(), spec_of()], "all")
