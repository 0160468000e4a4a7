"""Files of a received data set that are larger than they can sensibly be: one line, at once."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seglab.data.layouts.lists import read_ids

DATA = ["data=folder", "data.root=own"]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Return a sound data set of one's own, with a label map."""
    folder = tmp_path / "own"
    for name in ("JPEGImages", "SegmentationClass", "Annotations", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"JPEGImages/{name}.png")
        Image.fromarray(pixels[..., 0] % 2).save(folder / f"SegmentationClass/{name}.png")
    (folder / "ImageSets/Segmentation/train.txt").write_text("a\n")
    (folder / "ImageSets/Segmentation/val.txt").write_text("b\n")
    (folder / "labelmap.txt").write_text("soil:0,0,0::\nleaf:1,1,1::\n")
    return folder


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("ImageSets/Segmentation/train.txt", "134,217,728"),
        ("labelmap.txt", "1,048,576"),
        ("Annotations/a.xml", "16,777,216"),
    ],
)
def test_a_huge_text_file_is_not_read_whole(own: Path, name: str, limit: str) -> None:
    with (own / name).open("wb") as file:
        file.truncate(40 * 10**9)  # sparse: it takes no space

    def limit_memory() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))

    command = [sys.executable, "-m", "seglab.cli", "data", "check", *DATA]
    answer = subprocess.run(
        command, cwd=own.parent, capture_output=True, text=True, preexec_fn=limit_memory
    )
    assert answer.returncode == 1
    assert f"{name}: more than {limit} bytes are refused" in answer.stdout + answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.slow
def test_a_list_of_a_million_ids_is_read(tmp_path: Path) -> None:
    ids = [f"photographs/of_a_long_series/{number:07}" for number in range(1_000_000)]
    (tmp_path / "list.txt").write_text("\n".join(ids))
    begin = time.perf_counter()
    assert read_ids(tmp_path / "list.txt") == ids
    assert time.perf_counter() - begin < 60


@pytest.mark.parametrize("where", ["data.classes", "labelmap.txt", "data.mask_values"])
def test_a_class_name_of_thousands_of_letters_is_refused_in_a_short_line(
    seglab_cli: Callable[..., Any], own: Path, where: str
) -> None:
    given = []
    name = "x" * 50_000
    if where == "labelmap.txt":
        (own / where).write_text(f"soil:0,0,0::\n{name}:1,1,1::\n")
    elif where == "data.classes":
        given = [f"data.classes=[soil,{name}]"]
    else:
        given = [f"data.mask_values={{0: soil, 1: {name}}}"]
    answer = seglab_cli("data", "check", *DATA, *given)
    assert answer.code != 0
    lines = answer.out + answer.err
    assert "class 1 has a name of 50,000 characters; at most 200 are allowed" in lines
    assert where in lines
    assert len(lines) < 1000
    (own / "labelmap.txt").write_text(f"soil:0,0,0::\n{'x' * 200}:1,1,1::\n")
    assert seglab_cli("data", "check", *DATA).code == 0


@pytest.mark.parametrize("line", ["leaf" * 9999, "leaf" * 9999 + ":1,2,999", "soil:" + "9," * 9999])
def test_a_wrong_line_of_a_label_map_is_quoted_in_part(
    seglab_cli: Callable[..., Any], own: Path, line: str
) -> None:
    (own / "labelmap.txt").write_text(f"soil:0,0,0::\n{line}\n")
    answer = seglab_cli("data", "check", *DATA)
    assert answer.code != 0
    assert "labelmap.txt:2: " in answer.out + answer.err
    assert len(answer.out + answer.err) < 1000


def test_a_label_map_of_too_many_classes_is_refused_at_once(
    seglab_cli: Callable[..., Any], own: Path
) -> None:
    lines = (f"{n}:{n >> 16},{n >> 8 & 255},{n & 255}\n" for n in range(60_000))
    (own / "labelmap.txt").write_text("".join(lines))
    begin = time.perf_counter()
    answer = seglab_cli("data", "check", *DATA)
    assert answer.code != 0
    assert "labelmap.txt: more than 255 classes" in answer.out + answer.err
    assert time.perf_counter() - begin < 10


@pytest.mark.parametrize("side", [9_500, 15_000, 60_000])
@pytest.mark.parametrize("kind", ["JPEGImages", "SegmentationClass"])
@pytest.mark.filterwarnings("default")
def test_a_decompression_bomb_is_one_line_that_names_the_file(
    seglab_cli: Callable[..., Any], own: Path, kind: str, side: int
) -> None:
    path = own / kind / "a.png"
    content = bytearray(path.read_bytes())
    content[16:24] = side.to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    answer = seglab_cli("data", "check", *DATA)
    assert answer.code == 1
    (line,) = (line for line in answer.out.splitlines() if "a.png" in line)
    assert f"{path.relative_to(own.parent)}: more than 89,478,485 pixels are refused" in line
    assert "Warning" not in answer.err
