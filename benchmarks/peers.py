"""Error against speed, ours and our peers', as one figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Point:
    """Images a second from file to age, in batches of one, and MAE in years; a range where one was measured."""

    name: str
    slowest: float
    fastest: float
    lowest_mae: float
    highest_mae: float


# Two cores, one process, batch 1, decoding included. The MAEs are of other faces than ours: InsightFace's and
# OpenVINO's of UTKFace's part 1, which is full of children, face-api.js's of the split that it publishes.
PEERS = (
    Point("InsightFace genderage", 76, 319, 7.1, 8.4),
    Point("OpenVINO retail-0013 int8", 1100, 1100, 13.5, 13.5),
    Point("face-api.js (Node)", 62, 62, 5.25, 5.25),
)


def plot(ours: Sequence[Point], path: Path) -> None:
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    for points, colour, marker in ((PEERS, "tab:gray", "s"), (ours, "tab:blue", "o")):
        for index, point in enumerate(points):
            speed, mae = (point.slowest * point.fastest) ** 0.5, (point.lowest_mae + point.highest_mae) / 2
            axes.errorbar(
                speed,
                mae,
                xerr=[[speed - point.slowest], [point.fastest - speed]],
                yerr=[[mae - point.lowest_mae], [point.highest_mae - mae]],
                color=colour,
                marker=marker,
                capsize=3,
            )
            left = points is ours and index % 2 == 0  # two precisions of one model are close to each other
            axes.annotate(
                point.name,
                (point.slowest if left else point.fastest, mae),
                xytext=(-6 if left else 6, -3),
                textcoords="offset points",
                ha="right" if left else "left",
                fontsize=8,
            )
    axes.set(
        xscale="log",
        xlabel="images a second, from file to age, batches of one, two cores",
        ylabel="mean absolute error (years)",
        title="faster to the right, better to the bottom",
    )
    axes.set_ylim(bottom=0)
    axes.set_xlim(40, 4000)
    axes.set_xticks([50, 100, 200, 500, 1000, 2000], labels=["50", "100", "200", "500", "1,000", "2,000"])
    axes.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=120)
