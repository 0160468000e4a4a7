"""Which jobs a sweep has and where each belongs, without starting any."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from rich.console import Console

from seglab.config.compose import compose
from seglab.config.overrides import parse
from seglab.errors import ConfigError
from seglab.run.identity import data_digests, result_settings, short_digest
from seglab.runtime.files import write_json
from seglab.schema import TrainConfig
from seglab.sweep.board import Outcome, show_table
from seglab.sweep.jobs import Job, plan, readable


def mark(*overrides: str) -> str:
    return short_digest(result_settings(compose("train", TrainConfig, overrides).plain))


def data() -> dict[str, str]:
    """Return the identity of the built-in data."""
    return data_digests(compose("train", TrainConfig, []).config)


@pytest.mark.parametrize(
    "same",
    [
        ["data.root=elsewhere"],
        ["data.store.enabled=false"],
        ["data.num_workers=2"],
        ["sweep.name=x", "resume=true", "checkpoints=none", "hydra.run.dir=z"],
        ["pictures.samples=0"],
        ["hydra/launcher=slurm"],
    ],
)
def test_what_changes_no_number_does_not_change_the_folder(same: list[str]) -> None:
    assert mark(*same) == mark()


@pytest.mark.parametrize("other", ["seed=1", "optimizer.lr=0.5", "model=fcn8s", "loss=dice"])
def test_what_changes_a_result_changes_the_folder(other: str) -> None:
    if other == "loss=dice":
        other = "loss=cross_entropy_dice"
    assert mark(other) != mark()


def test_a_folder_says_what_is_varied() -> None:
    assert readable(["model=fcn8s", "optimizer.lr=1e-2"]) == "model_fcn8s-lr_1e-2"
    assert readable(["+callbacks.a={x: 1/2}"]) == "a_x_1_2"
    assert readable([]) == "run"
    assert len(readable([f"data.scale=[{'1' * 300}]"])) == 100


def test_a_job_is_found_again_whatever_else_is_varied(tmp_path: Path) -> None:
    first = plan(1, ["seed=1"], tmp_path, ["seed"])
    assert first.folder.name.startswith("seed_1-")
    assert first.plan == "would start"
    assert first.config is not None
    assert first.config.resume
    write_json(first.folder.parent / "x.json", {})
    first.folder.mkdir()
    write_json(first.folder / "status.json", {"status": "interrupted", "data": data()})
    again = plan(3, ["seed=1", "optimizer.lr=3e-3"], tmp_path, ["seed", "optimizer.lr"])
    assert again.folder == first.folder
    assert again.axes == ("seed=1", "optimizer.lr=3e-3")
    assert again.plan == "would continue"


def test_a_wrong_job_is_wrong_alone(tmp_path: Path) -> None:
    job = plan(1, ["seed=1", "optimizer.lr=-1"], tmp_path, ["optimizer.lr"])
    assert job.config is None
    assert job.error == "optimizer.lr=-1.0: must be greater than 0"
    assert job.plan == "is wrong"


def test_other_code_and_another_configuration_are_noticed(tmp_path: Path) -> None:
    job = plan(1, ["seed=1"], tmp_path, ["seed"])
    job.folder.mkdir()
    write_json(
        job.folder / "status.json", {"status": "finished", "code": "0.0.1 (abc)", "data": data()}
    )
    (note,) = plan(1, ["seed=1"], tmp_path, ["seed"]).notes
    assert "finished by other code, 0.0.1 (abc)" in note

    # The same command, when a default was another: as if conf/ had been edited since.
    config = compose("train", TrainConfig, ["seed=1"]).plain
    config["optimizer"]["lr"] = 0.25
    config["trainer"]["threads"] = 2  # settled by the machine
    (tmp_path / "seed_1-before" / ".hydra").mkdir(parents=True)
    (tmp_path / "seed_1-before/.hydra/config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "seed_1-before/.hydra/overrides.yaml").write_text("[seed=1]")
    job.folder.rename(tmp_path / "moved")
    (note,) = plan(1, ["seed=1"], tmp_path, ["seed"]).notes
    assert note.endswith("seed_1-before is of optimizer.lr=0.25")


def test_several_values_are_several_runs() -> None:
    with pytest.raises(ConfigError, match="give one, or -m"):
        parse(["seed=1,2"])
    assert parse(["seed=1,2", "model=glob(*)"], several=True)[0].is_sweep_override()


def test_a_job_of_other_data_is_left_alone_and_this_one_gets_its_own_folder(
    tmp_path: Path,
) -> None:
    first = plan(1, ["seed=1"], tmp_path, ["seed"])
    theirs = {"train": "0" * 64, "val": "1" * 64}
    for state in ("finished", "interrupted", "failed"):
        (first.folder / "checkpoints").mkdir(exist_ok=True, parents=True)
        (first.folder / "checkpoints/last.ckpt").touch()
        write_json(first.folder / "status.json", {"status": state, "data": theirs})
        other = plan(1, ["seed=1"], tmp_path, ["seed"])
        assert other.plan == "would start"
        assert other.folder.name.startswith(f"{first.folder.name}-")
        (note,) = other.notes
        assert "was trained on other data, train 00000000…, val 11111111…, and is left" in note
        assert data()["train"][:8] in note
    other.folder.mkdir()
    write_json(other.folder / "status.json", {"status": "finished", "data": data()})
    again = plan(1, ["seed=1"], tmp_path, ["seed"])
    assert (again.folder, again.plan) == (other.folder, "would skip")


def test_a_job_that_failed_before_it_had_trained_is_tried_again_in_its_folder(
    tmp_path: Path,
) -> None:
    first = plan(1, ["seed=1"], tmp_path, ["seed"])
    first.folder.mkdir()
    theirs = {"train": "0" * 64, "val": "1" * 64}
    write_json(first.folder / "status.json", {"status": "failed", "data": theirs})
    again = plan(1, ["seed=1"], tmp_path, ["seed"])
    assert (again.folder, again.plan, again.notes) == (first.folder, "would retry", ())


def test_the_data_of_all_jobs_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from seglab.sweep import jobs

    calls = []
    monkeypatch.setattr(jobs, "data_digests", lambda config: calls.append(config) or data())
    identities = jobs.Identities()
    for again in (False, True):
        for seed in range(5):
            overrides = [f"seed={seed}", f"data.crop_size={32 * (seed + 1)}"]
            job = plan(1, overrides, tmp_path, ["seed", "data.crop_size"], identities)
            job.folder.mkdir(exist_ok=again)
            write_json(job.folder / "status.json", {"status": "finished", "data": data()})
            assert job.plan == ("would skip" if again else "would start")
    assert len(calls) == 1


def test_the_table_of_a_sweep_has_a_line_per_job_at_80_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcomes = []
    for number in range(1, 25):
        rate, share = 1.234567890123e-4 * number, 0.123456789012345
        values = (f"optimizer.lr={rate}", f"data.photometric={share}", "model.net.channels=16")
        folder = Path(f"/sweeps/lr_{rate}-photometric_{share}-channels_16-8dc108{number:02}")
        job = Job(number, values, values, folder)
        outcomes.append(Outcome(job, "interrupted", {"val/mIoU": 0.5}, 3675.0, ""))
    show_table(outcomes, Console(width=80))
    lines = [line for line in capsys.readouterr().out.splitlines() if "interrupted" in line]
    assert len(lines) == 24
    for number, line in enumerate(lines, 1):
        assert line.split()[1:4] == [f"{1.234567890123e-4 * number:.4g}", "0.1235", "16"]
        assert line.split()[-2:] == ["1:01:15", f"…8dc108{number:02}"]
