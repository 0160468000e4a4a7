"""``seglab compare`` on many long runs, and its page in a browser.

    python -m benchmarks.compare [runs=500] [epochs=200] [folder=DIR]

The runs are made by what writes real ones: 13 steps per epoch and 213 images, as of VOC2007 at a
batch of 16, a grid of learning rates, weight decays and seeds. DIR keeps them for another call. The
budgets are 10 s and a page of 15 MB; in Chromium, where it is installed, 2 s until the page can be
used, 0.5 s until a filter has changed all of it, and while scrolling no pause above 0.3 s.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

STEPS, IMAGES, SIDE = 13, 213, (120, 160)

BUDGETS = {
    "seconds": 10.0,
    "page MB": 15.0,
    "usable s": 2.0,
    "filter s": 0.5,
    "longest pause while scrolling s": 0.3,
}


def settings() -> list[tuple[float, float, int]]:
    """Return the learning rate, weight decay and seed of each run, the seeds first."""
    grid = itertools.product(np.logspace(-4, -1, 20).tolist(), (0.0, 0.003, 0.01, 0.03, 0.1))
    return [(lr, decay, seed) for lr, decay in grid for seed in range(5)]


def make(root: Path, epochs: int, share: int, shares: int, runs: int) -> None:
    """Write a share of the runs: finished ones, whose mIoU depends on their settings and seed."""
    import torch

    from seglab.config.compose import compose
    from seglab.data.classes import VOC_CLASSES
    from seglab.metrics.confusion import Evaluation, scores
    from seglab.run.folder import Run
    from seglab.run.samples import Sample, SampleWriter, Validated
    from seglab.schema import TrainConfig

    given = ["data=voc2007", "model=fcn8s", f"trainer.max_epochs={epochs}"]
    plain = compose("train", TrainConfig, given).plain
    truth = torch.from_numpy(np.random.default_rng(0).multinomial(187_500, SHARES, IMAGES))
    ids = [f"2007_{place:06}" for place in range(IMAGES)]
    for number, (lr, decay, seed) in list(enumerate(settings()[:runs]))[share::shares]:
        rng = np.random.default_rng(number)
        quality = 0.6 - 0.08 * (math.log10(lr) + 2.5) ** 2 - decay + 0.005 * rng.normal()
        values = {"lr": lr, "weight_decay": decay}
        config = {**plain, "seed": seed, "optimizer": {**plain["optimizer"], **values}}
        overrides = [f"optimizer.{key}={value!r}" for key, value in values.items()]
        folder = root / f"lr={lr:.3g},weight_decay={decay},seed={seed}-{number:08x}"
        facts = {"data": {"train": "7a" * 32, "val": "1b" * 32}}
        overrides += [f"seed={seed}"]
        with Run(folder, config, overrides, resume=False, step=0, facts=facts) as run:
            for step in range(epochs * STEPS):
                done = step / (epochs * STEPS)
                row = {"epoch": step // STEPS, "train/loss": 2.5 - done + 0.1 * rng.normal()}
                row |= {"lr/backbone": lr * (1 - done), "lr/head": lr * (1 - done)}
                if step % STEPS == STEPS - 1:
                    miou = quality * (1 - math.exp(-5 * done)) + 0.003 * rng.normal()
                    row |= {"val/mIoU": miou, "val/loss": 1.5 - done}
                run.history.log(step, row)
            right = rng.beta(20 * quality, 20 * (1 - quality), truth.shape)
            both = (truth * torch.from_numpy(right)).long()
            counts = torch.stack([truth, both + (truth - both).roll(1, 1), both], 1)
            confusion = torch.diag(both.sum(0)) + torch.diag((truth - both).sum(0)).roll(1, 1)
            evaluation = Evaluation(confusion, torch.arange(IMAGES), counts)
            metrics = scores(confusion, VOC_CLASSES)
            worst = torch.from_numpy(evaluation.mious()).argsort()[:12].tolist()
            fixed = {*range(0, IMAGES, 40)}
            mious = evaluation.mious().tolist()
            samples = [
                Sample(place, ids[place], mious[place], *pictures(place, rng))
                for place in sorted({*worst} | fixed)
            ]
            validated = Validated(samples, worst, evaluation, metrics)
            SampleWriter(folder, ids, VOC_CLASSES, fixed).show(validated)
            run.write_metrics(metrics)


SHARES = np.array([0.73, *[0.0135] * 20])
"""Of the classes in the pixels, as in VOC2007."""


def pictures(place: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an image, its truth, which are the same in every run, and a prediction."""
    same = np.random.default_rng(place)
    blocks = same.integers(0, 256, (SIDE[0] // 20, SIDE[1] // 20, 3), np.uint8)
    image = blocks.repeat(20, 0).repeat(20, 1)
    truth = image[..., 0] % 21
    return image, truth, np.roll(truth, rng.integers(-9, 10, 2).tolist(), (0, 1))


def in_browser(page: Path) -> dict[str, float]:
    """Return how long opening, filtering and scrolling take in Chromium."""
    from tests.helpers.browser import chromium

    with tempfile.TemporaryDirectory() as profile, chromium(Path(profile)) as browser:
        start = time.perf_counter()
        browser.open(page)
        usable = time.perf_counter() - start
        browser.driver.set_script_timeout(120)
        pause = browser.driver.execute_async_script(SCROLL)
        took = browser.driver.execute_async_script(FILTER, "seed=0 lr=0.01")
    return {"usable s": usable, "filter s": took, "longest pause while scrolling s": pause}


SCROLL = """
const done = arguments[arguments.length - 1];
let last = performance.now(), longest = 0;
function step(now) {
  longest = Math.max(longest, now - last);
  last = now;
  window.scrollBy({ top: 60, behavior: "instant" });
  const end = scrollY + innerHeight >= document.documentElement.scrollHeight - 2;
  end ? done(longest / 1000) : requestAnimationFrame(step);
}
requestAnimationFrame((now) => { last = now; step(now); });
"""
"""Scrolls through the page, 60 pixels per frame; the longest time between two frames."""

FILTER = """
const [text, done] = arguments;
window.scrollTo({ top: 0, behavior: "instant" });
setTimeout(() => {
  const start = performance.now();
  const field = document.getElementById("filter");
  field.value = text;
  field.dispatchEvent(new Event("input"));
  const before = document.getElementById("count").textContent;
  (function wait() {
    if (document.getElementById("count").textContent === before) return setTimeout(wait, 5);
    requestAnimationFrame(() => setTimeout(() => done((performance.now() - start) / 1000)));
  })();
}, 1000);
"""
"""Filters; the time from the key to the next picture on the screen."""


def main(arguments: list[str]) -> None:
    from benchmarks.measure import keep

    given = {"runs": "500", "epochs": "200", "folder": ""}
    given |= dict(one.split("=", 1) for one in arguments)
    runs, epochs = int(given["runs"]), int(given["epochs"])
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(given["folder"] or temporary) / f"{runs}-{epochs}"
        if not root.is_dir():
            start = time.perf_counter()
            shares = [(root, epochs, share, 2, runs) for share in range(2)]
            with multiprocessing.get_context("spawn").Pool(2) as pool:
                pool.starmap(make, shares)
            print(f"{runs} runs of {epochs} epochs, made in {time.perf_counter() - start:.0f} s")
        out = Path(temporary) / "out"
        start = time.perf_counter()
        command = [sys.executable, "-m", "seglab.cli", "compare", str(root), "--output", str(out)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found = {"seconds": time.perf_counter() - start}
        found |= {"page MB": (out / "compare.html").stat().st_size / 1e6}
        if shutil.which("chromium") and shutil.which("chromedriver"):
            found |= in_browser(out / "compare.html")
        else:
            print("no chromium and chromedriver: the page is not opened")
    for name, value in found.items():
        over = "   OVER THE BUDGET" if value > BUDGETS.get(name, math.inf) else ""
        print(f"  {name:<32} {value:8.2f}{over}", flush=True)
    keep("compare", {"runs": runs, "epochs": epochs, **found})


if __name__ == "__main__":
    main(sys.argv[1:])
