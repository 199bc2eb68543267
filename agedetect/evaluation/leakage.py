"""Leakage that a split by file would have had: test images whose photograph was trained on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from agedetect.data.faces import Face
from agedetect.data.splits import Splits
from agedetect.evaluation.bootstrap import IntervalEstimate, interval_estimate, resampled_cluster_means
from agedetect.evaluation.predictions import Predictions

SEEDS = 20


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """A random split file by file, of the real split's sizes: `leaked` of its `test_files` have a duplicate or
    near-duplicate in training, on average over `seeds` such splits.

    `mae` is what the test MAE would then have been, in years, beside the `clean_mae`, and `gain` the difference. It
    assumes that the leaked files have the error of the `duplicates`, the training files that have a copy in training
    (`duplicates_mae`), and the others that of the test faces. It is the most that leakage could have gained: the label
    of such a training file was trained on, that of a leaked test file is its copy's, which may differ. The errors are
    None where no copy was trained on.
    """

    seeds: int
    test_files: int
    leaked: float
    least: int
    most: int
    duplicates: int
    clean_mae: IntervalEstimate | None = None
    duplicates_mae: IntervalEstimate | None = None
    mae: IntervalEstimate | None = None
    gain: IntervalEstimate | None = None


def training_duplicates(splits: Splits) -> tuple[Face, ...]:
    """The training faces whose photograph another one shows: on them the model's error is that of a leaked file.

    Those whose duplicates carry different ages are among them, as they would be among a careless split's test files.
    """
    times = Counter(face.picture for face in splits.train)
    return tuple(face for face in splits.train if times[face.picture] > 1)


def count_leaked(splits: Splits, *, seeds: int = SEEDS) -> list[int]:
    """For each seed: how many test files of a random split by file have a copy in its training part."""
    faces = (*splits.train, *splits.validation, *splits.test, *splits.omitted)
    number = {name: index for index, name in enumerate(dict.fromkeys(face.picture for face in faces))}
    picture = np.array([number[face.picture] for face in faces])
    trained = len(splits.train) + len(splits.omitted)  # a careless split omits none
    found = []
    for seed in range(seeds):
        order = picture[np.random.default_rng(seed).permutation(len(faces))]
        train, test = order[:trained], order[len(faces) - len(splits.test) :]
        found.append(int(np.isin(test, train).sum()))
    return found


def estimate_leakage(
    splits: Splits, test: Predictions, duplicates: Predictions | None, *, seeds: int = SEEDS
) -> Leakage:
    """`test` are the predictions for the test split, `duplicates` those for `training_duplicates(splits)`, if any."""
    counts = count_leaked(splits, seeds=seeds)
    found = Leakage(
        seeds=seeds,
        test_files=len(splits.test),
        leaked=float(np.mean(counts)),
        least=min(counts),
        most=max(counts),
        duplicates=0 if duplicates is None else len(duplicates.faces),
    )
    return found if duplicates is None else _with_errors(found, test, duplicates)


def _with_errors(found: Leakage, test: Predictions, duplicates: Predictions) -> Leakage:
    """The photographs of the test faces and those of the duplicates are resampled apart."""
    clean, on_trained = np.abs(test.error), np.abs(duplicates.error)
    share = found.leaked / found.test_files
    trained = float(on_trained.mean())
    clean_drawn = resampled_cluster_means(clean[:, None], test.clusters, seed=0)[:, 0]
    trained_drawn = resampled_cluster_means(on_trained[:, None], duplicates.clusters, seed=1)[:, 0]
    if not (len(clean_drawn) and len(trained_drawn)):  # a single photograph on either side gives no interval
        clean_drawn = trained_drawn = np.empty(0)
    mixed = (1 - share) * clean.mean() + share * trained
    gain = interval_estimate(share * float(clean.mean() - trained), share * (clean_drawn - trained_drawn))
    return replace(
        found,
        clean_mae=interval_estimate(float(clean.mean()), clean_drawn),
        duplicates_mae=interval_estimate(trained, trained_drawn),
        mae=interval_estimate(float(mixed), (1 - share) * clean_drawn + share * trained_drawn),
        gain=gain,
    )
