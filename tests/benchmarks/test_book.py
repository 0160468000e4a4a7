"""The book of results is what its committed results say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import seglab
from benchmarks import book
from seglab.config.compose import compose
from seglab.run.checkpoints import read_checkpoint
from seglab.run.soup import soup
from seglab.schema import TrainConfig

REPOSITORY = Path(__file__).parents[2]


def test_the_table_is_that_of_the_committed_results() -> None:
    page = (REPOSITORY / "experiments/README.md").read_text()
    assert book.written(page, book.read()) == page, "run python -m benchmarks.book"
    for one in book.read():
        assert (REPOSITORY / f"experiments/{one['recipe']}.yaml").is_file()


def test_seeds_of_one_recipe_are_one_row() -> None:
    scores = {"val/mIoU": 0.5, "val/mIoU_low": 0.4, "val/mIoU_high": 0.6, "val/pixel_accuracy": 0.9}
    one = {
        "recipe": "smoke", "overrides": ["seed=1", "trainer.max_epochs=2"], "evaluated": [],
        "metrics": scores,
        "parameters": 1_500_000, "macs": 2_500_000_000, "minutes": 1.0, "images_per_second": 3.0,
    }  # fmt: skip
    other = {**one, "overrides": ["trainer.max_epochs=2"], "metrics": {**scores, "val/mIoU": 0.52}}
    alone = {**one, "overrides": [], "runs": 3}
    rows = book.rows([one, other, alone])
    assert [row["seeds"] for row in rows] == ["3", "2"]
    assert rows[1]["val/mIoU"] == "0.5100 ± 0.0141"
    assert rows[1]["recipe"] == "[smoke](smoke.yaml) `trainer.max_epochs=2`"
    assert (rows[1]["parameters"], rows[1]["gmacs"]) == ("1.500", "2.50")


def test_overrides_that_change_nothing_are_left_out() -> None:
    given = {"experiments": "smoke", "seed": "0", "data.root": "d"}
    epochs = compose("train", TrainConfig, ["experiments=smoke"]).config.trainer.max_epochs
    more = {"trainer.max_epochs": str(epochs + 1)}
    assert book.changes({**given, **more}) == [f"trainer.max_epochs={epochs + 1}"]
    assert book.changes({**given, "trainer.max_epochs": str(epochs)}) == []


def test_the_minutes_of_a_resumed_run_count_from_its_first_start() -> None:
    first, second = "2026-01-01T10:00:00+00:00", "2026-01-01T11:00:00+00:00"
    status = {
        "started": second,
        "history": [{"started": first}, {"started": second}],
        "ended": "2026-01-01T11:30:00+00:00",
    }
    assert book.minutes(status) == 90


def test_a_finished_run_is_taken_in(tmp_path: Path, tiny: list[str]) -> None:
    rest = [text for text in tiny if not text.startswith(("data=", "model="))]
    run = seglab.fit("experiments=smoke", *rest, f"hydra.run.dir={tmp_path}/run", quiet=True).folder
    (tmp_path / ".hydra").mkdir()
    (tmp_path / book.OVERRIDES).write_text("[checkpoint=a, evaluation.flip=true]")
    (run / "metrics.json").rename(tmp_path / "metrics.json")
    own = (tmp_path / "metrics.json").read_text()
    (run / "metrics.json").write_text(own)
    taken = book.result(run, tmp_path)
    assert taken["recipe"] == "smoke"
    assert taken["evaluated"] == ["evaluation.flip=true"]
    assert taken["parameters"] > 0
    assert taken["macs"] > 0
    assert not any(str(tmp_path) in text for text in taken["overrides"])
    paths = [run / f"checkpoints/{name}.ckpt" for name in ("last", "best")]
    mean = soup({path: read_checkpoint(path) for path in paths})
    torch.save(mean, tmp_path / "soup.ckpt")
    mixed = book.result(tmp_path / "soup.ckpt", tmp_path)
    assert mixed["evaluated"] == ["soup of 2 seeds", "evaluation.flip=true"]
    assert mixed["minutes"] == pytest.approx(2 * taken["minutes"], abs=0.2)
    assert mixed["runs"] == 2
    (run / "metrics.json").write_text('{"val/mIoU": -1}')
    (tmp_path / book.OVERRIDES).write_text("[checkpoint=a]")
    with pytest.raises(SystemExit, match=r"val/mIoU is not the run's own"):
        book.result(run, tmp_path)
