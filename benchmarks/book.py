"""The book of results: its table is made from committed results, so that no row can be mistyped.

    python -m benchmarks.book                   write the table of experiments/README.md anew
    python -m benchmarks.book RUN EVALUATION    first take a finished run in, and its evaluation

RUN is the folder of ``seglab train experiments=NAME …``, or what ``seglab soup`` made of several;
EVALUATION is the folder of ``seglab evaluate`` of its (last) checkpoint, which adds the interval.
Several may be given in turn: RUN EVALUATION RUN EVALUATION …. A result is
``experiments/results/NAME-SEED.json``; an evaluation with overrides, such as ``evaluation.scales``,
is a result of its own.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

import seglab
from seglab.config.compose import compose
from seglab.run.checkpoints import KEY, SOUP, read_checkpoint
from seglab.schema import TrainConfig

BOOK = Path(__file__).parents[1] / "experiments"
OVERRIDES = ".hydra/overrides.yaml"
BEGIN, END = "<!-- results: begin, by python -m benchmarks.book -->", "<!-- results: end -->"
PLACES = (
    *("experiments", "data.root", "hydra.run.dir", "model.weights", "logger", "trainer.threads"),
    *("checkpoint", "hydra/launcher", "trainer.check_val_every_n_epoch", "resume"),
)
"""Overrides that the book gives elsewhere, that name places, or that change no recipe."""

HEAD = {
    "recipe": "recipe",
    "seeds": "runs",
    "val/mIoU": "val/mIoU",
    "interval": "95 % interval",
    "val/mask_AP50": "mask AP50",
    "val/mask_AP": "mask AP",
    "val/pixel_accuracy": "pixel accuracy",
    "parameters": "parameters, million",
    "gmacs": "GMACs",
    "minutes": "training, min",
    "speed": "images/s in training",
}


def result(run: Path, evaluation: Path) -> dict[str, Any]:
    """Read what the book says of a run, or of a soup of runs."""
    if is_soup := run.suffix == ".ckpt":
        runs = [Path(path).parents[1] for path in read_checkpoint(run)[KEY][SOUP]]
    else:
        runs = [run]
    statuses = [finished(each) for each in runs]
    given, evaluated = (
        dict(one.split("=", 1) for one in yaml.safe_load((folder / OVERRIDES).read_text()))
        for folder in (runs[0], evaluation)
    )
    others = [f"{key}={value}" for key, value in evaluated.items() if key not in PLACES]
    scores = json.loads((evaluation / "metrics.json").read_text())
    if is_soup:
        others.insert(0, f"soup of {len(runs)} seeds")
    elif not others:
        own = json.loads((run / "metrics.json").read_text())
        if scores["val/mIoU"] != own["val/mIoU"]:
            raise SystemExit(
                f"{evaluation}: val/mIoU is not the run's own; evaluate its last.ckpt with as many "
                "trainer.threads"
            )
    net = seglab.load(run if is_soup else run / "checkpoints/last.ckpt").task.net.eval()
    return {
        "recipe": given["experiments"],
        "seed": int(given.get("seed", 0)),
        "runs": len(runs),
        "overrides": changes(given),
        "evaluated": others,
        "metrics": scores,
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "macs": macs(net),
        "minutes": round(sum(map(minutes, statuses)), 1),
        "images_per_second": statuses[0]["speed/images_per_second"],
        "threads": statuses[0]["history"][-1]["trainer.threads"],
        "code": statuses[0]["code"],
        "data": statuses[0]["data"],
    }


def finished(run: Path) -> dict[str, Any]:
    """Return the status of a finished run."""
    status: dict[str, Any] = json.loads((run / "status.json").read_text())
    if status["status"] != "finished":
        raise SystemExit(f"{run}: {status['status']}; only finished runs are in the book")
    return status


def minutes(status: dict[str, Any]) -> float:
    """Return how long a run took, from its first start, with validations and interruptions."""
    started, ended = map(datetime.fromisoformat, (status["history"][0]["started"], status["ended"]))
    return (ended - started).total_seconds() / 60


def changes(given: dict[str, str]) -> list[str]:
    """Return the overrides that change the recipe as it is now."""
    recipe = f"experiments={given['experiments']}"
    texts = [f"{key}={value}" for key, value in given.items() if key not in PLACES]
    plain = compose("train", TrainConfig, [recipe]).config
    return [text for text in texts if compose("train", TrainConfig, [recipe, text]).config != plain]


@torch.inference_mode()
def macs(net: torch.nn.Module) -> int | None:
    """Count the multiply-adds of a photograph of 500 x 375; None for a net of objects."""
    image = torch.zeros(1, 3, 375, 500)
    with FlopCounterMode(display=False) as counter:
        try:
            net(image)
        except (TypeError, ValueError, AttributeError):
            return None
    return counter.get_total_flops() // 2


def rows(results: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return a row per recipe and its overrides, of all its seeds."""
    groups = defaultdict(list)
    for one in results:
        overrides = [*one["overrides"], *one["evaluated"]]
        others = tuple(text for text in overrides if not text.startswith("seed="))
        groups[one["recipe"], others].append(one)
    return [_row(recipe, others, group) for (recipe, others), group in sorted(groups.items())]


def _row(recipe: str, others: tuple[str, ...], group: list[dict[str, Any]]) -> dict[str, str]:
    def mean(name: str) -> str:
        values = [one["metrics"][name] for one in group if name in one["metrics"]]
        if not values:
            return ""
        spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
        return f"{statistics.mean(values):.4f}{spread}"

    first = group[0]
    low, high = (first["metrics"][f"val/mIoU_{end}"] for end in ("low", "high"))
    return {
        "recipe": " ".join([f"[{recipe}]({recipe}.yaml)", *(f"`{text}`" for text in others)]),
        "seeds": str(sum(one.get("runs", 1) for one in group)),
        **{name: mean(name) for name in HEAD if name.startswith("val/")},
        "interval": f"{low:.4f} to {high:.4f}",
        "parameters": f"{first['parameters'] / 1e6:.3f}",
        "gmacs": f"{first['macs'] / 1e9:.2f}" if first["macs"] else "",
        "minutes": f"{statistics.mean(one['minutes'] for one in group):.1f}",
        "speed": f"{statistics.mean(one['images_per_second'] for one in group):.1f}",
    }


def table(results: list[dict[str, Any]]) -> str:
    """Return the table in Markdown."""
    lines = [[*HEAD.values()], ["---"] * len(HEAD)]
    lines += [[row[name] for name in HEAD] for row in rows(results)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def read(folder: Path = BOOK / "results") -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def written(page: str, results: list[dict[str, Any]]) -> str:
    """Return the page with the table between its marks."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table(results)}\n\n{END}{rest.partition(END)[2]}"


def main(folders: list[str]) -> None:
    for run, evaluation in zip(folders[::2], folders[1::2], strict=True):
        one = result(Path(run), Path(evaluation))
        name = "-".join([one["recipe"], str(one["seed"]), *one["evaluated"]])
        path = BOOK / "results" / f"{re.sub(r'[^a-z0-9.-]+', '_', name.lower()).strip('_')}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(one, indent=1) + "\n")
        print(path)
    page = BOOK / "README.md"
    page.write_text(written(page.read_text(), read()))


if __name__ == "__main__":
    main(sys.argv[1:])
