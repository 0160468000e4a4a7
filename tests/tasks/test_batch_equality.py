"""On a CPU no bit depends on the batch size, for every net that is shipped, on 1 and 2 threads."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import seglab
from seglab.api import Predictor
from seglab.config.compose import compose
from seglab.data.batches import collate
from seglab.data.images import ImageBatches, Images
from seglab.schema import TrainConfig
from seglab.tasks.base import Task, main_output
from seglab.tasks.factories import build_task

FEW_BOXES = [
    "model.net.box_score_thresh=0.0", "++model.net.rpn_post_nms_top_n_test=10",
    "model.net.box_detections_per_img=10",
]  # fmt: skip
SMALL = ["model.net.min_size=51", "model.net.max_size=77"]  # torchvision's 800 takes seconds
LIGHT = ["model.net.backbone=mobilenet_v2"]
LARGE = ("fcn8s", "fcn_resnet101", "maskrcnn_resnet50_fpn_v2")
"""These take longer than all others together; fcn8s is over VGG16, the largest that is shipped."""

NETS = {
    "padded_cnn": [],
    "padded_head": [],
    "fcn8s": ["model.net.context=true"],  # every layer that the others over VGG16 have, and one
    "fcn16s": LIGHT,
    "fcn32s": LIGHT,
    "fcn_resnet50": [],
    "fcn_resnet101": [],
    "deeplabv3_resnet50": [],
    "lraspp": [],
    "smp_deeplabv3plus": ["model.net.net.encoder_name=resnet18"],
    "smp_segformer": ["model.net.net.encoder_name=resnet18"],
    "smp_unet": [],
    "mask_rcnn": FEW_BOXES,
    "maskrcnn_resnet50_fpn": FEW_BOXES + SMALL,
    "maskrcnn_resnet50_fpn_v2": FEW_BOXES + SMALL,
}


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def build(*overrides: str) -> Task:
    """Build a net with random weights, of which none is zero: a score layer begins with zeros."""
    config = compose("train", TrainConfig, ["trainer.accelerator=cpu", *overrides]).config
    torch.manual_seed(0)
    task = build_task(config).eval()
    for parameter in task.net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return task


def photographs(height: int, width: int) -> np.ndarray:
    """Four smooth pictures with noise ``(4, H, W, 3)`` uint8."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
    large = [np.asarray(Image.fromarray(one).resize((width, height))) for one in coarse]
    noise = random.integers(-20, 21, (4, height, width, 3))
    return (np.stack(large) + noise).clip(0, 255).astype(np.uint8)


def results(output: Any) -> list[list[Tensor]]:
    """Return what a net gave, image by image: its logits, or its boxes, scores and masks."""
    if isinstance(output, list):
        return [list(one.values()) for one in output]
    return [[logits] for logits in main_output(output)]


def compare(task: Task, pixels: np.ndarray, folder: Path) -> None:
    """Hold batches of 1, 3 and 4 and ``seglab.load``'s answers against each other, bit for bit."""
    files = [folder / f"{place}.png" for place in range(4)]
    for path, one in zip(files, pixels, strict=True):
        Image.fromarray(one).save(path)
    tensors = [torch.from_numpy(one).movedim(-1, 0) for one in pixels]
    maps = torch.zeros(1, *pixels.shape[1:3], dtype=torch.uint8)
    whole = collate([(0, "", image, maps) for image in tensors]).image
    batches = {
        "a batch of 4": Images(whole, [""] * 4, [""] * 4, []),
        "a batch of 3 from files": ImageBatches(files, 3)[0],  # type: ignore[call-overload]
        "a batch of 1": Images(whole[:1], [""], [""], []),
    }
    raw: list[list[Tensor]] = []
    handle = task.net.register_forward_hook(lambda *call: raw.extend(results(call[-1])))
    model = Predictor(task)
    kinds = [tensors[0].contiguous(), pixels[1], Image.fromarray(pixels[2]), files[3]]
    class_maps = torch.stack([model.predict(image) for image in kinds])
    alone = list(raw)
    assert all(part.isfinite().all() and part.numel() for one in alone for part in one)
    assert not torch.equal(alone[0][0], alone[1][0])
    for name, batch in batches.items():
        raw.clear()
        with torch.inference_mode():
            maps = task.predict_step(batch, 0).class_map
        for place, (one, other) in enumerate(zip(raw, alone, strict=False)):
            for mine, its in zip(one, other, strict=True):
                assert torch.equal(mine, its), (name, place)
        assert len(raw) == len(maps) == len(batch.ids)
        assert torch.equal(maps, class_maps[: len(maps)]), name
    handle.remove()


def test_every_shipped_net_is_held_to_it() -> None:
    shipped = {path.stem for path in (Path(seglab.__file__).parents[1] / "conf/model").glob("*")}
    assert shipped - {"base"} == set(NETS)


@pytest.mark.parametrize(
    "net", [pytest.param(net, marks=[pytest.mark.slow] * (net in LARGE)) for net in NETS]
)
def test_logits_objects_and_class_maps_are_those_of_a_single_image(
    net: str, set_threads: Callable[[int], None], tmp_path: Path
) -> None:
    if net.startswith("smp"):
        pytest.importorskip("segmentation_models_pytorch")
    task = build(f"model={net}", *NETS[net])
    for threads in (1, 2):
        set_threads(threads)
        compare(task, photographs(51, 77), tmp_path)


@pytest.mark.parametrize(
    ("height", "width", "precision", "channels_last"),
    [
        (375, 500, "32-true", True),
        (375, 500, "bf16-mixed", True),
        (75, 101, "32-true", False),
        (75, 1, "32-true", True),  # memory formats of a single column are ambiguous
        (1, 101, "32-true", False),
    ],
)
def test_so_are_those_of_photographs_and_of_odd_sizes(
    height: int, width: int, precision: str, channels_last: bool,
    set_threads: Callable[[int], None], tmp_path: Path,
) -> None:  # fmt: skip
    task = build(
        "model=fcn8s", *LIGHT, "model.net.context=true",
        f"trainer.channels_last={channels_last}", f"trainer.precision={precision}",
    )  # fmt: skip
    for threads in (1, 2):
        set_threads(threads)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            compare(task, photographs(height, width), tmp_path)
