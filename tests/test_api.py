"""The Python API, and that it leaves the process of its caller alone."""

from __future__ import annotations

import io
import logging
import os
import signal
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image

import seglab
from seglab.cli import main
from seglab.data.classes import SYNTHETIC_CLASSES
from seglab.data.synthetic import SyntheticSpec, write_tree
from seglab.drawing.pictures import overlay
from seglab.run.status import FINISHED, status


def process_state() -> dict[str, Any]:
    """Return what of this process a library has no business to change."""
    loggers = [logging.root, *(logging.getLogger(name) for name in logging.root.manager.loggerDict)]
    return {
        "environment": dict(os.environ),
        "filters": list(warnings.filters),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn": (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
        "filled": torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        "default dtype": torch.get_default_dtype(),
        "generator": torch.get_rng_state().tolist(),
        "levels": {one.name: one.level for one in loggers},
        "handlers": {number: signal.getsignal(number) for number in (2, 10, 12, 15)},
        "folder": Path.cwd(),
    }


def changed(before: dict[str, Any]) -> list[str]:
    after = process_state()
    known = before["levels"]  # others have been imported since
    after["levels"] = {name: level for name, level in after["levels"].items() if name in known}
    return [name for name, value in before.items() if after[name] != value]


def test_the_public_names_are_what_dir_lists() -> None:
    assert dir(seglab) == ["Predictor", "Sample", "VOCSegmentation", "fit", "load", "runs"]
    code = "import seglab; print(dir(seglab)); [getattr(seglab, name) for name in dir(seglab)]; "
    code += "assert dir(seglab) == sorted(seglab.__all__)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_fit_and_load_leave_the_process_as_it_was(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seglab.fit(*tiny, "trainer.max_epochs=1", "hydra.run.dir=first", quiet=True)
    before = process_state()
    result = seglab.fit(
        *tiny, "trainer.threads=3", "trainer.deterministic=true", "trainer.max_epochs=1",
        "hydra.run.dir=run", quiet=True,
    )  # fmt: skip
    assert changed(before) == []
    monkeypatch.setattr(L, "Trainer", None)  # loading builds none
    model = seglab.load(result.folder / "checkpoints/last.ckpt")
    model.predict(torch.zeros(3, 20, 30, dtype=torch.uint8))
    assert changed(before) == []


def test_fit_works_off_the_main_thread_where_no_signals_are_handled(
    tmp_path: Path, tiny: list[str]
) -> None:
    arguments = [*tiny, "trainer.max_epochs=1", f"hydra.run.dir={tmp_path / 'run'}"]
    with ThreadPoolExecutor(1) as pool:  # as Ray Tune calls it
        result = pool.submit(seglab.fit, *arguments, quiet=True).result()
    assert status(result.folder) == FINISHED


def test_fit_shows_progress_and_metrics_unless_it_is_quiet(
    tmp_path: Path, tiny: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [*tiny, "trainer.max_epochs=1"]
    seglab.fit(*arguments, f"hydra.run.dir={tmp_path / 'quiet'}", quiet=True)
    assert capfd.readouterr().out == ""
    seglab.fit(*arguments, f"hydra.run.dir={tmp_path / 'loud'}")
    out = capfd.readouterr().out
    assert "epoch 1/1" in out
    assert "val/mIoU" in out


def test_a_finished_run_is_given_back_as_it_is(tmp_path: Path, tiny: list[str]) -> None:
    arguments = [*tiny, "trainer.max_epochs=1", f"hydra.run.dir={tmp_path / 'run'}", "resume=true"]
    first = seglab.fit(*arguments, quiet=True)
    again = seglab.fit(*arguments, quiet=True)
    assert again.skipped
    # As text, because NaN is not equal to itself.
    given, before = ({k: str(float(v)) for k, v in r.metrics.items()} for r in (again, first))
    assert given == before


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> seglab.VOCSegmentation:
    root = tmp_path_factory.mktemp("data")
    write_tree(root, SyntheticSpec(train=4, val=2, width=64, height=48))
    return seglab.VOCSegmentation(root, 2007, "train", classes=SYNTHETIC_CLASSES, instances=True)


def test_a_sample_unpacks_into_image_and_class_map(data: seglab.VOCSegmentation) -> None:
    image, maps = data[3]
    assert image.equal(data[3].image)
    assert maps.equal(data[3].class_map)
    assert [img.shape[-2:] == maps.shape for img, maps in data] == [True] * 4


def test_a_sample_shows_itself_as_seglab_data_show_draws_it(
    data: seglab.VOCSegmentation, tmp_path: Path
) -> None:
    sample = data[1]
    png = sample._repr_png_()
    with Image.open(io.BytesIO(png)) as shown:
        assert shown.format == "PNG"
        assert np.array_equal(np.asarray(shown), np.asarray(sample.show(sample.id)))
    own = ["data", "show", f"data.root={data.folder.parent}", "index=1", f"output={tmp_path}/a.png"]
    assert main(own) == 0
    height, width = sample.size
    title = f"synthetic train[1]  ·  {sample.id}  ·  {width}x{height}"
    with Image.open(tmp_path / "a.png") as drawn:
        assert np.array_equal(np.asarray(drawn), np.asarray(sample.show(title)))


def test_a_loaded_model_lays_the_class_map_of_seglab_predict_over_the_image(
    data: seglab.VOCSegmentation, tmp_path: Path, tiny: list[str]
) -> None:
    own = [*tiny, "trainer.max_epochs=1", f"hydra.run.dir={tmp_path / 'run'}"]
    run = seglab.fit(*own, f"data.root={data.folder.parent}", quiet=True)
    checkpoint = run.folder / "checkpoints/last.ckpt"
    model, path = seglab.load(checkpoint), data.images[0]
    picture = model.overlay(path)
    assert picture.size == (data[0].size[1], data[0].size[0])
    predict = [f"checkpoint={checkpoint}", f"input={path}", f"output={tmp_path / 'out'}"]
    assert main(["predict", *predict]) == 0
    with Image.open(tmp_path / "out" / f"{path.stem}.png") as written, Image.open(path) as photo:
        expected = overlay(np.asarray(photo), np.asarray(written))
    assert np.array_equal(np.asarray(expected), np.asarray(picture))
    assert np.array_equal(np.asarray(model.overlay(data[0].image)), np.asarray(picture))
    torch.set_warn_always(True)
    with Image.open(path) as photo:
        read_only = np.asarray(photo)
        assert np.array_equal(np.asarray(model.overlay(read_only)), np.asarray(picture))
    torch.set_warn_always(False)
    for wrong in (np.zeros((4, 5), np.uint8), np.zeros((3, 4, 5), np.uint8), torch.zeros(3, 4, 5)):
        shape = ", ".join(map(str, wrong.shape))
        with pytest.raises(ValueError, match=rf"image is \({shape}\) .*must be uint8"):
            model.overlay(wrong)
    with pytest.raises(ValueError, match="must be uint8"):
        model.predict(np.zeros((0, 5, 3), np.uint8))
    tiled = seglab.load(checkpoint, "evaluation.tile=32", "evaluation.flip=false")
    assert tiled.task.tiling is not None
    assert tiled.predict(path).shape == data[0].class_map.shape
    with pytest.raises(seglab.errors.ConfigError, match=r"evaluation\.tile"):
        seglab.load(checkpoint, "evaluation.tile=3")
    mixed = seglab.load(checkpoint, "trainer.precision=16-mixed")  # a GPU may be chosen later
    with pytest.raises(seglab.errors.ConfigError, match=r"precision=16-mixed: not on a CPU"):
        mixed.predict(path)
