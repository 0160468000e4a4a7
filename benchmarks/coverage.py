"""How often a 95 % interval of mIoU contains the truth: the shipped one and the bootstrap's.

    python -m benchmarks.coverage RUN [OTHER] [sizes=213,100,50] [samples=2000] [draws=1000]

RUN is a run folder with an `evaluation.npz`, best one of `seglab evaluate` on a whole validation
split. Its images are the population, whose mIoU is the truth; from it `samples` samples of each
size are drawn with replacement. The named peer is the percentile bootstrap (Efron and Tibshirani,
*An Introduction to the Bootstrap*, 1993, chapter 13). With OTHER, a run on the same images, the
paired difference is measured in the same way.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.measure import keep
from seglab.metrics.counts import Counts, Floats, jackknife_interval, miou, paired_difference
from seglab.run.evaluation import StoredEvaluation, read_evaluation

Interval = tuple[float, float]


def percentile_interval(
    counts: Counts, generator: np.random.Generator, draws: int, other: Counts | None = None
) -> Interval:
    """Return the middle 95 % of mIoU, or of its difference to ``other``, over redrawn images."""
    images = len(counts)
    picks = generator.integers(images, size=(draws, images)) + images * np.arange(draws)[:, None]
    times = np.bincount(picks.ravel(), minlength=images * draws).reshape(draws, images)
    values = _mious(counts, times)
    if other is not None:
        values = values - _mious(other, times)
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)


def _mious(counts: Counts, times: npt.NDArray[np.int64]) -> Floats:
    rows = counts.reshape(len(counts), -1).astype(np.float64)
    return miou((times.astype(np.float64) @ rows).reshape(-1, *counts.shape[1:]))


def coverage(
    truth: float,
    images: int,
    size: int,
    samples: int,
    interval: Callable[[npt.NDArray[np.int64]], Interval],
    seed: int = 0,
) -> dict[str, float]:
    """Return the shares of samples whose interval contains, is below and is above the truth."""
    generator = np.random.default_rng(seed)
    ends = [interval(generator.integers(images, size=size)) for _ in range(samples)]
    low, high = np.array(ends).T
    return {
        "coverage": float(np.mean((low <= truth) & (truth <= high))),
        "truth_above": float(np.mean(truth > high)),
        "truth_below": float(np.mean(truth < low)),
        "width": float(np.mean(high - low)),
    }


def measure(
    name: str,
    truth: float,
    ways: dict[str, Callable[[npt.NDArray[np.int64]], Interval]],
    images: int,
    sizes: list[int],
    samples: int,
) -> dict[str, Any]:
    """Print and return the coverage of each way for each size of sample."""
    print(f"{name} {truth:.4f} of {images} images; {samples} samples of each size")
    print(f"  {'images':>6}  {'interval':<22} coverage  truth above  below  mean width")
    result: dict[str, Any] = {"truth": truth, "population": images, "samples": samples}
    for size in sizes:
        for way, interval in ways.items():
            shares = coverage(truth, images, size, samples, interval)
            result.setdefault(way, {})[str(size)] = shares
            print(
                f"  {size:>6}  {way:<22} {shares['coverage']:8.3f} {shares['truth_above']:12.3f} "
                f"{shares['truth_below']:6.3f} {shares['width']:11.4f}",
                flush=True,
            )
    return result


def read(folder: str) -> StoredEvaluation:
    evaluation = read_evaluation(Path(folder))
    if evaluation is None:
        raise SystemExit(f"{folder}: no evaluation.npz in it; give the folder of a run")
    return evaluation


def main(arguments: list[str]) -> None:
    given = {"sizes": "213,100,50", "samples": "2000", "draws": "1000"}
    given |= dict(one.split("=", 1) for one in arguments if one.split("=")[0] in given)
    runs = [read(one) for one in arguments if one.split("=")[0] not in given]
    if not runs or len(runs) > 2:
        raise SystemExit("give the folders of one or two runs; see the module's docstring")
    sizes = [int(size) for size in given["sizes"].split(",")]
    samples, draws = int(given["samples"]), int(given["draws"])
    generator = np.random.default_rng(1)
    one = runs[0].counts
    ways = {
        "jackknife (shipped)": lambda picks: jackknife_interval(one[picks]),
        "percentile bootstrap": lambda picks: percentile_interval(one[picks], generator, draws),
    }
    truth = float(miou(one.sum(0)))
    keep("coverage/mIoU", measure("mIoU", truth, ways, len(one), sizes, samples))
    if len(runs) == 1:
        return
    if not runs[0].same_images(runs[1]):
        raise SystemExit("the two runs are not of the same images")
    other = runs[1].counts
    ways = {
        "jackknife (shipped)": lambda picks: paired_difference(one[picks], other[picks])[1:],
        "percentile bootstrap": lambda picks: percentile_interval(
            one[picks], generator, draws, other[picks]
        ),
    }
    truth -= float(miou(other.sum(0)))
    keep("coverage/difference", measure("difference", truth, ways, len(one), sizes, samples))


if __name__ == "__main__":
    main(sys.argv[1:])
