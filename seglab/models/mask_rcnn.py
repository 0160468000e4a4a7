"""Mask R-CNN over a feature pyramid on any backbone, light enough for a CPU.

He, Gkioxari, Dollár and Girshick, "Mask R-CNN", ICCV 2017; Lin et al., "Feature Pyramid Networks
for Object Detection", CVPR 2017. Proposals, heads and losses are torchvision's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from inspect import signature
from math import log2
from typing import Any

from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.poolers import LevelMapper

from seglab.errors import options
from seglab.models.backbones import build_backbone

ASPECT_RATIOS = (0.5, 1.0, 2.0)
"""Height by width of the anchors (Ren et al., "Faster R-CNN", NeurIPS 2015, section 3.1.1)."""


class FeaturePyramid(nn.Module):
    """A backbone with a feature pyramid: maps of one width, merged top-down.

    Args:
        name: a classification net of torchvision, such as ``mobilenet_v2``, or ``timm/NAME``.
        strides: of the maps, finest first.
        channels: the width of every map.

    Raises:
        ValueError: no such net, or one without feature maps at these strides.
    """

    def __init__(self, name: str, strides: Sequence[int], channels: int) -> None:
        super().__init__()
        self.body = build_backbone(name, strides=strides)
        self.fpn = FeaturePyramidNetwork(list(self.body.channels), channels)
        self.out_channels = channels

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Map ``(B, C, H, W)`` to ``{"0": (B, channels, H/s, W/s), …}``, finest first."""
        maps = OrderedDict((str(level), one) for level, one in enumerate(self.body(image)))
        pyramid: dict[str, Tensor] = self.fpn(maps)
        return pyramid


class PyramidRoIAlign(MultiScaleRoIAlign):  # type: ignore[misc]
    """RoI align over the levels of a pyramid whose strides are known.

    torchvision infers the strides from its first image and keeps them. For a padded image of less
    than 78 pixels it infers wrong strides, so results would depend on the order of images.

    Args:
        strides: of the levels, finest first: powers of two.
        output_size: height and width of the output, in pixels.
    """

    def __init__(self, strides: Sequence[int], output_size: int) -> None:
        super().__init__([str(level) for level in range(len(strides))], output_size, 2)
        self.scales = [1 / stride for stride in strides]
        finest, coarsest = (int(log2(stride)) for stride in (strides[0], strides[-1]))
        self.map_levels = LevelMapper(finest, coarsest, self.canonical_scale, self.canonical_level)


class MaskRCNN(detection.MaskRCNN):  # type: ignore[misc]
    """torchvision's Mask R-CNN over a :class:`FeaturePyramid`, without resizing the images.

    It takes a list of normalised images ``(C, H, W)`` float32 and, in training, as many targets
    (``boxes``, ``labels``, ``masks``); it returns the losses by name or, in evaluation mode, each
    image's ``boxes``, ``labels``, ``scores`` and ``masks`` ``(N, 1, H, W)`` of probabilities.

    Args:
        num_classes: K, background included.
        backbone: a classification net of torchvision, or ``timm/NAME``.
        strides: of the pyramid's levels, finest first.
        channels: the width of the pyramid and of the mask head.
        anchor_sizes: square roots of the anchors' areas in pixels, as many on each level; three
            aspect ratios of each.
        box_head: the width of the two fully connected layers.
        mask_layers: the number of the mask head's 3x3 convolutions.
        **settings: torchvision's, such as ``rpn_post_nms_top_n_test``, ``box_score_thresh``.

    Raises:
        ValueError: a net without maps at these strides, anchors that do not fit the levels, or an
            unknown setting, which torchvision would ignore.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str = "mobilenet_v2",
        strides: Sequence[int] = (8, 16, 32),
        channels: int = 128,
        anchor_sizes: Sequence[Sequence[int]] = ((32, 64), (96, 160), (256, 384)),
        box_head: int = 512,
        mask_layers: int = 4,
        **settings: Any,
    ) -> None:
        if len(anchor_sizes) != len(strides) or len({len(sizes) for sizes in anchor_sizes}) != 1:
            raise ValueError(
                f"anchor_sizes={list(map(list, anchor_sizes))}: must be a list for each of the "
                f"{len(strides)} strides, all of one length"
            )
        parameters = sorted(signature(detection.MaskRCNN).parameters)
        if unknown := sorted(set(settings) - set(parameters)):
            raise ValueError(f"no setting {unknown[0]}; {options(unknown[0], parameters)}")
        sizes = tuple(tuple(sizes) for sizes in anchor_sizes)
        super().__init__(
            FeaturePyramid(backbone, strides, channels),
            rpn_anchor_generator=AnchorGenerator(sizes, (ASPECT_RATIOS,) * len(strides)),
            box_roi_pool=PyramidRoIAlign(strides, output_size=7),
            box_head=TwoMLPHead(channels * 7**2, box_head),
            box_predictor=detection.faster_rcnn.FastRCNNPredictor(box_head, num_classes),
            mask_roi_pool=PyramidRoIAlign(strides, output_size=14),
            mask_head=MaskRCNNHeads(channels, [channels] * mask_layers, dilation=1),
            mask_predictor=MaskRCNNPredictor(channels, channels, num_classes),
            **settings,
        )
        self.transform = PadOnly(0, 0, [0.0], [1.0])  # the task has normalised them


class PadOnly(GeneralizedRCNNTransform):  # type: ignore[misc]
    """Pads a batch with zeros, the mean colour, to whole cells of the coarsest map, and no more."""

    def resize(
        self, image: Tensor, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Return both unchanged."""
        return image, target
