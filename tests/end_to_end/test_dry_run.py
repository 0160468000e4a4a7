"""seglab train --dry-run refuses what a run would refuse, in the same words, and writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seglab.data.synthetic import SyntheticSpec, write_tree

WRONG = {
    "class weights": (["loss.class_weights=[1,2]"], "2 numbers for 7 classes"),
    "net": (["model.net.kernel_size=4"], "kernel_size=4"),
    "frozen": (["model.frozen=[nothing]"], "'nothing'"),
    "optimiser": (["+optimizer.algorithm.momentum=0.5"], "momentum"),
    "callback": (["+callbacks.x._target_=torch.nn.Identity"], "callbacks.x"),
    "callback's argument": (["callbacks=ema", "callbacks.ema.decay=2"], "decay"),
    "strategy": (["trainer.strategy=nonsense"], "nonsense"),
    "precision": (["trainer.precision=16-mixed"], "bf16-mixed"),
    "batch size": (["data.batch_size=9"], "has 8 samples"),
    "no weights": (["model.weights=none.pth"], "none.pth: no such file"),
    "damaged weights": (["model.weights=torn.pth"], "torn.pth"),
    "no known weights": (["model.weights=DEFAULT"], "no weights for PaddedCNN"),
    "list": (["data.val_split=other"], "other"),
    "image": ([], "000003"),
}


@pytest.fixture
def arguments(tiny: list[str], tmp_path: Path) -> list[str]:
    """Return overrides of a run on data in ``tmp_path/data``, which is right."""
    write_tree(tmp_path / "data", SyntheticSpec(train=8, val=5, width=64, height=48))
    (tmp_path / "torn.pth").write_bytes(b"nothing")
    classes = "data.classes=[background,circle,square,triangle,ring,star,cross]"
    own = [one for one in tiny if "synth" not in one]
    return [*own, "data=voc2007", "data.root=data", classes, "hydra.run.dir=run"]


def files(*folders: Path) -> list[tuple[Path, int]]:
    found = [path for folder in folders for path in folder.rglob("*")]
    return sorted((path, path.lstat().st_mtime_ns) for path in found)


@pytest.mark.parametrize("what", WRONG)
def test_what_a_run_would_refuse_is_refused_in_the_same_words(
    seglab_cli: Callable[..., Any],
    arguments: list[str],
    tmp_path: Path,
    own_cache: Path,
    what: str,
) -> None:
    wrong, told = WRONG[what]
    if what == "image":
        (tmp_path / "data/VOC2007/JPEGImages/000003.jpg").unlink()
    before = files(tmp_path, own_cache)
    dry = seglab_cli("train", "--dry-run", *arguments, *wrong)
    assert files(tmp_path, own_cache) == before
    assert told in dry.last_line
    run = seglab_cli("train", *arguments, *wrong)
    assert (dry.code, dry.last_line) == (run.code, run.last_line)
    assert dry.code in (1, 2)


def test_a_right_run_is_shown_whatever_its_size(
    seglab_cli: Callable[..., Any], arguments: list[str], tmp_path: Path, own_cache: Path
) -> None:
    before = files(tmp_path, own_cache)
    answer = seglab_cli("train", "--dry-run", *arguments, "trainer.devices=2")
    assert answer.code == 0, answer.err
    assert answer.out.endswith("# run: would start\n")
    several = seglab_cli("train", "--dry-run", *arguments, "trainer.devices=3")
    assert several.code == 2
    assert "3 processes need 12 samples per step" in several.last_line
    built_in = seglab_cli("train", "--dry-run", "data.synth.seed=8765", "data.synth.train=9")
    assert built_in.code == 0, built_in.err
    assert files(tmp_path, own_cache) == before, "the built-in data is not made either"


def test_each_job_of_a_sweep_is_checked_once_for_what_it_shares(
    seglab_cli: Callable[..., Any],
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from seglab.session import session

    built = []
    build_task = session.build_task

    def note(config: Any, *arguments: Any) -> Any:
        built.append(config)
        return build_task(config, *arguments)

    monkeypatch.setattr(session, "build_task", note)
    before = files(tmp_path)
    sweep = ["sweep.name=s", "seed=0,1", "optimizer.lr=0.1,0.2", "model.net.kernel_size=3,4"]
    answer = seglab_cli("train", "-m", "--dry-run", *arguments, *sweep)
    assert answer.code == 1
    assert "jobs that would fail: 4" in answer.last_line
    assert answer.out.count("would start ") == 4
    assert answer.out.count("would fail ") == answer.out.count("kernel_size=4: must be odd") == 4
    assert len(built) == 2
    assert files(tmp_path) == before


def test_a_search_is_checked_with_one_of_its_values(
    seglab_cli: Callable[..., Any], arguments: list[str]
) -> None:
    pytest.importorskip("optuna")
    search = ["-m", "--dry-run", "search=optuna", "sweep.name=s"]
    answer = seglab_cli("train", *search, *arguments, "optimizer.lr=interval(0.1,1)")
    assert answer.code == 0, answer.err
    answer = seglab_cli("train", *search, *arguments, "optimizr.lr=interval(0.1,1)")
    assert answer.code == 2
    assert "unknown key 'optimizr.lr': did you mean optimizer.lr" in answer.last_line
