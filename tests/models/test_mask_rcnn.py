"""Mask R-CNN: levels, losses, detections, weights, and settings that are not passed over."""

import pytest
import torch
from torchvision.models import get_model
from torchvision.models.detection import maskrcnn_resnet50_fpn

from seglab.models.fcn import FCN
from seglab.models.mask_rcnn import FeaturePyramid, MaskRCNN
from seglab.models.weights import load_matching

SMALL = {"channels": 16, "box_head": 32, "mask_layers": 1}


@pytest.fixture(scope="module")
def net() -> MaskRCNN:
    torch.manual_seed(0)
    return MaskRCNN(4, box_score_thresh=0.0, **SMALL)


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_large", "resnet18"])
@pytest.mark.parametrize("strides", [(8, 16, 32), (4, 8, 16, 32)])
def test_levels_of_a_pyramid(name: str, strides: tuple[int, ...]) -> None:
    pyramid = FeaturePyramid(name, strides, 16).eval()
    with torch.inference_mode():
        levels = pyramid(torch.zeros(2, 3, 64, 96))
    assert [tuple(level.shape) for level in levels.values()] == [
        (2, 16, 64 // stride, 96 // stride) for stride in strides
    ]


def test_no_result_depends_on_the_image_that_came_first(net: MaskRCNN) -> None:
    net.eval()
    small, large = torch.randn(3, 36, 50), torch.randn(3, 64, 96)
    found = []
    for first in (small, large):
        fresh = MaskRCNN(4, box_score_thresh=0.0, **SMALL).eval()
        fresh.load_state_dict(net.state_dict())
        with torch.inference_mode():
            fresh([first])
            found.append(fresh([large])[0])
    assert len(found[0]["scores"]) > 0
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def targets() -> list[dict[str, torch.Tensor]]:
    masks = torch.zeros(1, 50, 70, dtype=torch.bool)
    masks[0, 10:40, 5:50] = True
    one = {"boxes": torch.tensor([[5.0, 10, 50, 40]]), "labels": torch.tensor([3]), "masks": masks}
    return [one, {name: value[:0] for name, value in one.items()}]


def test_training_gives_losses_of_images_with_and_without_objects(net: MaskRCNN) -> None:
    net.train()
    for one in (targets(), targets()[1:] * 2):
        losses = net([torch.randn(3, 50, 70) for _ in range(2)], one)
        assert set(losses) == {
            "loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness", "loss_rpn_box_reg",
        }  # fmt: skip
        total = sum(losses.values())
        assert torch.isfinite(total)
        total.backward()


def test_images_are_taken_at_their_own_size(net: MaskRCNN) -> None:
    net.eval()
    with torch.inference_mode():
        found = net([torch.randn(3, 50, 70)])[0]
    assert found["masks"].shape[1:] == (1, 50, 70)
    assert len(found["scores"]) == len(found["labels"]) == len(found["masks"]) > 0
    assert found["labels"].min() >= 1
    assert found["boxes"][:, 2].max() <= 70
    assert found["boxes"][:, 3].max() <= 50


def test_a_setting_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no setting box_score_tresh; nearest: box_score_thresh"):
        MaskRCNN(4, box_score_tresh=0.5, **SMALL)


@pytest.mark.parametrize("sizes", [[[32], [64]], [[32, 48], [64], [128]]])
def test_anchors_must_fit_the_levels(sizes: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="must be a list for each of the 3 strides"):
        MaskRCNN(4, anchor_sizes=sizes, **SMALL)


def test_classification_weights_and_an_fcn_fill_the_backbone_below_the_pyramid(
    net: MaskRCNN,
) -> None:
    for source in (get_model("mobilenet_v2"), FCN(7, "mobilenet_v2")):
        state = source.state_dict()
        report = load_matching(net, state, "a.pth")
        assert len(report.loaded) == 312
        name = "features.18.0.weight"
        own = net.backbone.body.state_dict()[name]
        assert torch.equal(own, state.get(name, state.get(f"backbone.{name}")))


def test_weights_of_91_classes_leave_only_the_heads() -> None:
    coco = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91)
    voc = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=21)
    report = load_matching(voc, coco.state_dict(), "coco.pth")
    assert report.missing == report.unexpected == ()
    heads = {name.rpartition(".")[0] for name in report.replaced}
    assert heads == {
        "roi_heads.box_predictor.cls_score",
        "roi_heads.box_predictor.bbox_pred",
        "roi_heads.mask_predictor.mask_fcn_logits",
    }
