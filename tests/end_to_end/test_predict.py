"""seglab predict on a folder of which some files cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Return a folder of two photographs, one torn, one torn of another size, and a text."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, size in (("a", (40, 64)), ("c", (40, 64)), ("d", (40, 64)), ("e", (33, 47))):
        pixels = random.integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    for name in "ce":  # their headers are whole
        whole = (folder / f"{name}.png").read_bytes()
        (folder / f"{name}.png").write_bytes(whole[: len(whole) // 2])
    (folder / "b.jpg").write_text("no picture")
    return folder


@pytest.mark.parametrize("model", [[], ["model=mask_rcnn", "model.net.channels=16"]])
@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_files_are_listed_and_the_others_predicted(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    photographs: Path,
    model: list[str],
    workers: int,
) -> None:
    short = ["trainer.max_epochs=1", "trainer.limit_train_batches=1", "hydra.run.dir=run"]
    settings = [one for one in tiny if not (model and one.startswith("model.net"))]
    trained = seglab_cli("train", *settings, *model, *short)
    assert trained.code == 0, trained.err
    call = ["checkpoint=run/checkpoints/last.ckpt", f"data.num_workers={workers}"]
    answer = seglab_cli("predict", *call, f"input={photographs}", "output=maps")
    assert answer.code == 1
    assert answer.last_line == "seglab: error: 3 of 5 images could not be read, listed above"
    for name in ("b.jpg", "c.png", "e.png"):
        assert answer.out.count(f"{photographs}/{name}: cannot be decoded") == 1
    assert "2 class maps in maps" in answer.out
    written = {path.relative_to(tmp_path / "maps") for path in (tmp_path / "maps").rglob("*.*")}
    folders = ["", "overlays", "instances"] if model else ["", "overlays"]
    expected = {Path(folder, f"{name}.png") for name in "ad" for folder in folders}
    assert written == expected | ({Path("instances.json")} if model else set())

    for name in "ad":
        (photographs / f"{name}.png").unlink()
    answer = seglab_cli("predict", *call, f"input={photographs}/b.jpg", "output=none")
    assert answer.code == 1
    assert "b.jpg: cannot be decoded" in answer.last_line
    assert not (tmp_path / "none").exists()


def test_probabilities_and_maps_alone(
    seglab_cli: Callable[..., Any], tiny: list[str], tmp_path: Path, photographs: Path
) -> None:
    for name in "bce":
        next(photographs.glob(f"{name}.*")).unlink()
    assert seglab_cli("train", *tiny, "trainer.max_epochs=1", "hydra.run.dir=run").code == 0
    call = ["predict", "checkpoint=run/checkpoints/last.ckpt", f"input={photographs}"]
    assert seglab_cli(*call, "output=both").code == 0
    answer = seglab_cli(*call, "output=soft", "--probabilities", "--no-overlays")
    assert answer.code == 0, answer.err
    assert "overlays" not in answer.out
    assert "images/s" in answer.out
    written = {str(path.relative_to(tmp_path / "soft")) for path in tmp_path.glob("soft/**/*.*")}
    assert written == {"a.png", "d.png", "probabilities/a.npz", "probabilities/d.npz"}
    for name in "ad":
        assert (tmp_path / f"soft/{name}.png").read_bytes() == (
            tmp_path / f"both/{name}.png"
        ).read_bytes()
        soft = np.load(tmp_path / f"soft/probabilities/{name}.npz")["probabilities"]
        class_map = np.asarray(Image.open(tmp_path / f"soft/{name}.png"))
        assert soft.dtype == np.float16
        assert soft.shape[1:] == class_map.shape
        assert np.abs(soft.astype(np.float32).sum(0) - 1).max() < 0.005
        chosen = np.take_along_axis(soft, class_map[None].astype(np.intp), 0)[0]
        assert (chosen == soft.max(0)).all()
    again = seglab_cli(*call, "output=soft", "--probabilities", "--no-overlays")
    assert again.code == 0, again.err  # its own files it replaces
    for left in (["--no-overlays"], ["--probabilities", "--no-overlays"]):
        folder = "soft" if len(left) == 1 else "both"
        other = seglab_cli(*call, f"output={folder}", *left)
        kind = "probabilities" if folder == "soft" else "overlays"
        assert other.code == 2
        assert f"output={folder}: {kind}/ is of an earlier prediction" in other.last_line
    again = seglab_cli(*call, "output=tiled", "--probabilities", "evaluation.tile=32")
    assert again.code == 0, again.err
    tiled = np.load(tmp_path / "tiled/probabilities/a.npz")["probabilities"]
    assert tiled.shape == np.load(tmp_path / "soft/probabilities/a.npz")["probabilities"].shape


def test_an_error_of_writing_names_the_file(
    seglab_cli: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    photographs: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert seglab_cli("train", *tiny, "trainer.max_epochs=1", "hydra.run.dir=run").code == 0

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "maps/a.png"))

    monkeypatch.setattr("seglab.callbacks.predictions.save_class_map", full)
    call = ["checkpoint=run/checkpoints/last.ckpt", f"input={photographs}/a.png", "output=maps"]
    answer = seglab_cli("predict", *call)
    assert answer.code == 1
    assert "maps/a.png" in answer.last_line
