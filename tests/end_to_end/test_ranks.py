"""One job on several processes: exact metrics, one writer, the same hyperparameters on all."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.processes import WITHOUT_TORCH, processes_in, processes_of, start
from helpers.sockets import listening
from helpers.warm import command

from seglab.runtime.cores import cores

WITNESS = "+callbacks.witness={_target_:helpers.witness.Witness}"


def test_metrics_are_equal_on_one_two_and_three_processes(
    tmp_path: Path, tiny: list[str], seglab_cli: Callable[..., Any]
) -> None:
    ddp = ["trainer.devices=2", "trainer.strategy=ddp", "optimizer.lr_rule=linear", WITNESS]
    odd = ["data.synth.train=11", "data.synth.val=5"]
    done = command(tmp_path, "train", *tiny, *odd, *ddp, "hydra.run.dir=run")
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (
        "effective batch size 8: 4 samples x 2 processes",
        "each epoch leaves out 3 of 11 samples, which fill no batch",
        "learning rate x 2 (optimizer.lr_rule=linear)",
    ):
        assert done.stdout.count(line) == 1, done.stdout
    assert done.stdout.count("epoch 2/2") == 1, "only one process shows progress"
    run = tmp_path / "run"
    seen = [json.loads((run / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert seen[0].pop("pid") != seen[1].pop("pid")
    assert seen[0] == seen[1]
    assert (seen[0]["world_size"], seen[0]["batches"], seen[0]["lr"]) == (2, 1, 6e-3)
    config = yaml.safe_load((run / ".hydra/config.yaml").read_text())
    assert config["trainer"]["threads"] == seen[0]["threads"] >= 1
    assert seen[0]["used_threads"] == [seen[0]["threads"]]
    assert len((run / "metrics.csv").read_text().splitlines()) == 3
    assert len(list((run / "predictions").glob("*.png"))) == 2
    assert len(list((run / "checkpoints").iterdir())) == 2

    # Five images in batches of two: three processes get one batch each. In one batch they leave
    # two of the three without any.
    for batch, counts in ((2, (1, 2, 3)), (5, (1, 3))):
        metrics = []
        for count in counts:
            folder = f"evaluate{batch}-{count}"
            answer = seglab_cli(
                "evaluate",
                "checkpoint=run/checkpoints/last.ckpt",
                "trust=true",  # the witness is no callback of seglab's
                f"trainer.devices={count}",
                f"data.eval_batch_size={batch}",
                f"hydra.run.dir={folder}",
            )
            assert answer.code == 0, answer.err
            metrics.append((tmp_path / folder / "metrics.json").read_text())
            assert len(list((tmp_path / folder / "predictions").glob("*.png"))) == 2
        assert len(set(metrics)) == 1, metrics
    trained = json.loads((run / "metrics.json").read_text())
    measured = json.loads(metrics[0])
    shared = [name for name in measured if name in trained]
    assert len(shared) > 8
    assert {name: trained[name] for name in shared} == {name: measured[name] for name in shared}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("threads", "counts"), [(2, (1, 2)), (1, (1, 2)), (1, (1, 3)), (2, (1, 3))]
)
def test_recorded_threads_are_what_every_process_computes_with(
    tmp_path: Path, tiny: list[str], threads: int, counts: tuple[int, ...]
) -> None:
    photographs = ["data.synth.width=500", "data.synth.height=375", "data.synth.val=4"]
    net = ["model=fcn8s", "model.net.backbone=mobilenet_v2", "model.net.context=true"]
    small = [one for one in tiny if not one.startswith("model.net.")]
    small += ["trainer.max_epochs=1", f"trainer.threads={threads}", WITNESS]
    done = command(tmp_path, "train", *small, *photographs, *net, "hydra.run.dir=run")
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = set()
    for count in counts:
        many = ["trust=true", f"trainer.devices={count}", f"hydra.run.dir=evaluate{count}"]
        done = command(tmp_path, "evaluate", "checkpoint=run/checkpoints/last.ckpt", *many)
        assert done.returncode == 0, done.stdout + done.stderr
        metrics.add((tmp_path / f"evaluate{count}/metrics.json").read_text())
        warning = (
            f"warning: trainer.threads={threads} x {count} (trainer.devices) on {cores()} cores"
        )
        assert (warning in done.stderr) == (count * threads > cores())
    assert len(metrics) == 1, metrics
    trained = json.loads((tmp_path / "run/metrics.json").read_text())
    measured = json.loads(metrics.pop())
    assert {name: measured[name] for name in trained if name in measured} == {
        name: value for name, value in trained.items() if name in measured
    }

    done = command(
        tmp_path, "train", *small, *photographs, *net, "trainer.devices=2", "hydra.run.dir=two"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for rank in (0, 1):
        seen = json.loads((tmp_path / f"two/rank{rank}.json").read_text())
        assert (seen["world_size"], seen["used_threads"]) == (2, [threads])


@pytest.mark.parametrize(
    "arguments",
    [
        ["hydra.run.dir=run"],
        pytest.param(["-m", "seed=0,1", "sweep.name=study"], marks=pytest.mark.slow),
    ],
)
def test_nothing_listens_beyond_the_loopback_interface(
    tmp_path: Path, tiny: list[str], arguments: list[str]
) -> None:
    long = ["trainer.devices=2", "trainer.max_epochs=1000"]
    process = start(tmp_path, "train", *tiny, *long, *arguments)
    addresses = set()
    try:
        while not list(tmp_path.rglob("last.ckpt")):
            assert process.poll() is None, process.communicate()
            addresses |= listening(processes_in(tmp_path))
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert addresses, "the ranks do talk to each other"
    assert addresses <= {"127.0.0.1", "::1"}
    assert processes_of(tmp_path) == []


@pytest.mark.slow
def test_a_command_imports_no_torch_where_others_train(tmp_path: Path, tiny: list[str]) -> None:
    settings = [*tiny, "trainer.devices=2", "hydra.run.dir=run"]
    process = start(tmp_path, "train", *settings, program=WITHOUT_TORCH)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    assert "val/mIoU" in out


@pytest.mark.slow
def test_a_resumed_job_of_two_processes_comes_to_the_weights_of_an_undisturbed_one(
    tmp_path: Path, tiny: list[str]
) -> None:
    many = [*tiny, "trainer.devices=2", "trainer.max_epochs=3", "callbacks=ema"]
    many.append(f"+callbacks.trouble={{_target_:helpers.trouble.Trouble,folder:{tmp_path}}}")
    done = command(tmp_path, "train", *many, "hydra.run.dir=whole")
    assert done.returncode == 0, done.stdout + done.stderr

    (tmp_path / "0").write_text("SIGINT 1")
    done = command(tmp_path, "train", *many, "hydra.run.dir=parts")
    assert done.returncode == 130, done.stdout + done.stderr
    assert json.loads((tmp_path / "parts/status.json").read_text())["status"] == "interrupted"
    (tmp_path / "0").unlink()
    done = command(tmp_path, "train", *many, "hydra.run.dir=parts", "resume=true")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("metrics.csv", "metrics.json"):
        assert (tmp_path / "parts" / name).read_text() == (tmp_path / "whole" / name).read_text()
    whole, parts = (
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "parts")
    )
    assert all(torch.equal(whole[name], parts[name]) for name in whole)

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").rglob("*")}
    done = command(tmp_path, "train", *many, "hydra.run.dir=parts", "resume=true")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing to do" in done.stdout
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").rglob("*")}


@pytest.mark.parametrize(
    ("what", "said"),
    [pytest.param("raise", "out of luck", marks=pytest.mark.slow), ("SIGKILL", "SIGKILL")],
)
def test_a_rank_that_dies_ends_the_job(
    tmp_path: Path, tiny: list[str], what: str, said: str
) -> None:
    (tmp_path / "0").write_text(f"{what} 1")
    trouble = f"+callbacks.trouble={{_target_:helpers.trouble.Trouble,folder:{tmp_path}}}"
    long = ["trainer.devices=2", "trainer.max_epochs=1000", trouble]
    start = time.monotonic()
    done = command(tmp_path, "train", *tiny, *long, "hydra.run.dir=run")
    assert done.returncode == 1, done.stdout + done.stderr
    assert time.monotonic() - start < 120
    assert said in done.stderr.splitlines()[-1]
    assert "process 1 of the job" in done.stderr.splitlines()[-1]
    if what == "raise":
        assert 'raise RuntimeError("out of luck")' in done.stderr, "that process's traceback"
    status = json.loads((tmp_path / "run/status.json").read_text())
    assert status["status"] == "failed"
    assert said in status["error"]
    assert processes_of(tmp_path) == []


@pytest.mark.slow
def test_a_wrong_value_is_one_line_from_several_processes_too(
    tmp_path: Path, tiny: list[str]
) -> None:
    many = ["trainer.devices=2", "data.batch_size=8"]
    done = command(tmp_path, "train", *tiny, *many, "hydra.run.dir=run")
    assert done.returncode == 2, done.stdout + done.stderr
    said = "seglab: error: data.batch_size=8: 2 processes need 16 samples per step; the train split"
    assert done.stderr.splitlines()[-1].startswith(said)
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_both_processes_of_every_optuna_trial_train_the_same_hyperparameters(
    tmp_path: Path, tiny: list[str]
) -> None:
    search = [
        "search=optuna",
        "sweep.name=study",
        "hydra.sweeper.n_trials=3",
        "optimizer.lr=tag(log, interval(1e-4, 1e-1))",
        "optimizer.weight_decay=interval(0.0, 0.1)",
        "seed=choice(3,4,5)",
    ]
    ddp = ["trainer.devices=2", "trainer.strategy=ddp", WITNESS]
    done = command(tmp_path, "train", "-m", *tiny, *search, *ddp)
    assert done.returncode == 0, done.stdout + done.stderr
    folders = sorted((tmp_path / "sweeps/study").glob("*/"))
    assert len(folders) == 3
    trained = []
    for folder in folders:
        ranks = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]
        assert ranks[0].pop("pid") != ranks[1].pop("pid")
        assert ranks[0] == ranks[1], "two processes of one job trained different things"
        assert ranks[0]["world_size"] == 2
        config = yaml.safe_load((folder / ".hydra/config.yaml").read_text())
        asked = (config["optimizer"]["lr"], config["optimizer"]["weight_decay"], config["seed"])
        assert (ranks[0]["lr"], ranks[0]["weight_decay"], ranks[0]["seed"]) == asked
        trained.append(asked)
    assert len(set(trained)) == 3, "three trials, three sets of hyperparameters"
    assert torch.load(folders[0] / "checkpoints/last.ckpt", weights_only=True)["seglab"]

    again = command(tmp_path, "train", "-m", *tiny, *search, *ddp)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "3 of 3 trials done" in again.stdout
    assert len(list((tmp_path / "sweeps/study").glob("*/"))) == 3


@pytest.mark.gpu
def test_metrics_are_equal_on_one_and_two_gpus(tmp_path: Path, tiny: list[str]) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip(f"{torch.cuda.device_count()} GPUs here, and NCCL needs 2")
    gpu = ["trainer.accelerator=gpu", "trainer.devices=2", "trainer.strategy=ddp"]
    done = command(tmp_path, "train", *tiny, *gpu, "hydra.run.dir=run")
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = []
    for count in (1, 2):
        arguments = [f"trainer.devices={count}", f"hydra.run.dir=evaluate{count}"]
        done = command(tmp_path, "evaluate", "checkpoint=run/checkpoints/last.ckpt", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        metrics.append((tmp_path / f"evaluate{count}/metrics.json").read_text())
    assert metrics[0] == metrics[1]
