"""Classification nets as backbones: feature maps at several strides, of torchvision or timm.

One contract for both: a module with ``channels``, that maps images to a tuple of maps, finest
first. timm says by itself which of its maps has which stride (``feature_info``).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import get_model, list_models

from seglab.schema import TIMM, ModelConfig

STRIDES = (8, 16, 32)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of RGB in 0..1, per channel: torchvision's, for all its classification nets."""


def build_backbone(
    name: str, dropout: float = 0.5, strides: Sequence[int] = STRIDES
) -> Backbone | TimmBackbone:
    """Build a classification net without its head; see :class:`Backbone`, :class:`TimmBackbone`.

    Args:
        name: of torchvision, such as ``resnet50``, or ``timm/`` and one of timm.
        dropout: probability, after each of fc6 and fc7 of torchvision's VGG; others have neither.
        strides: of the maps, finest first: powers of two up to 32.

    Raises:
        ValueError: no such net, or one without feature maps at these strides.
        ImportError: timm is not installed.
    """
    if name.startswith(TIMM):
        return TimmBackbone(name, strides)
    return Backbone(name, dropout, strides)


def mean_and_std(config: ModelConfig) -> tuple[Sequence[float], Sequence[float]]:
    """Return each channel's mean and standard deviation, in 0..1.

    Those not configured are the backbone's own: timm knows them by name, others have ImageNet's.
    """
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    name = str(config.net.get("backbone"))
    if name.startswith(TIMM) and find_spec("timm"):
        import timm

        timm_config = timm.get_pretrained_cfg(name.removeprefix(TIMM))
        mean, std = (timm_config.mean, timm_config.std) if timm_config else (mean, std)
    return config.mean or mean, config.std or std


class TimmBackbone(nn.Module):
    """One of timm's nets, read where its own ``feature_info`` says.

    Its parameters keep timm's names below ``net``, so that timm's weights load unchanged. It starts
    with random weights; nothing is downloaded.

    Args:
        name: ``timm/`` and a net of timm, such as ``timm/tf_efficientnet_lite0``.
        strides: of the maps, finest first.

    Attributes:
        channels: the widths of the maps, finest first.

    Raises:
        ValueError: no such net, or one without feature maps at these strides.
        ImportError: timm is not installed.
    """

    def __init__(self, name: str, strides: Sequence[int] = STRIDES) -> None:
        super().__init__()
        if find_spec("timm") is None:
            raise ImportError(f"backbone={name}: needs pip install 'seglab[timm]'")
        import timm

        timm_name = name.removeprefix(TIMM)
        # Only names in timm's registry: timm would also take folders and names on a hub.
        if not timm.is_model(timm_name):
            close = difflib.get_close_matches(timm_name, timm.list_models(), n=3)
            raise ValueError(f"backbone={name}: no such net in timm; nearest: {', '.join(close)}")
        try:
            features: Any = timm.create_model(timm_name, features_only=True, feature_cls="getter")
        except (AttributeError, AssertionError, RuntimeError, TypeError, KeyError) as error:
            raise ValueError(f"backbone={name}: gives no feature maps: {error}") from None
        info = features.feature_info
        maps = {  # the last map of each stride
            stride: (index, width)
            for index, (stride, width) in enumerate(
                zip(info.reduction(), info.channels(), strict=True)
            )
        }
        if missing := [stride for stride in strides if stride not in maps]:
            raise ValueError(
                f"backbone={name}: has no feature map at stride {missing[0]}; it has "
                f"{', '.join(map(str, maps))}"
            )
        self.net = features.model
        self.indices = [features.out_indices[maps[stride][0]] for stride in strides]
        self.channels = tuple(maps[stride][1] for stride in strides)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map ``(B, 3, H, W)`` to a tuple of ``(B, C, H/s, W/s)``, one for each stride s.

        H and W are multiples of 32.
        """
        return tuple(
            self.net.forward_intermediates(
                image, indices=self.indices, stop_early=True, intermediates_only=True
            )
        )


class Backbone(nn.Module):
    """One of torchvision's nets without its head, read at several resolutions.

    Its parameters keep torchvision's names, so that ImageNet weights load unchanged. VGG is read
    after its last three poolings; the last one is followed by fc6 and fc7 as convolutions (Long,
    Shelhamer and Darrell, CVPR 2015, section 4.1); any other net is read after the last layer of
    each resolution.

    Args:
        name: one of torchvision's classification nets, such as ``resnet50``.
        dropout: probability, after each of VGG's fc6 and fc7; other nets have neither.
        strides: of the maps, finest first: powers of two up to 32.

    Attributes:
        channels: the widths of the maps, finest first.

    Raises:
        ValueError: no such net, or one without feature maps at these strides.
    """

    def __init__(self, name: str, dropout: float = 0.5, strides: Sequence[int] = STRIDES) -> None:
        super().__init__()
        if name not in (names := list_models(module=torchvision.models)):
            close = ", ".join(difflib.get_close_matches(name, names, n=3)) or "none"
            raise ValueError(
                f"backbone={name}: no such net in torchvision; nearest: {close}; those of timm are "
                f"{TIMM}NAME"
            )
        net = get_model(name, weights=None)
        for child_name, child in net.named_children():
            if child_name in ("avgpool", "classifier", "fc", "aux", "aux1"):
                break
            self.add_module(child_name, child)
        pools_only = name.startswith("vgg")
        try:
            self.taps, widths = find_taps(list(self._layers()), pools_only, strides)
        except ValueError as error:
            raise ValueError(f"backbone={name}: {error}") from None
        if pools_only:
            self.classifier = fully_convolutional(dropout)
            widths[-1] = 4096
        self.channels = tuple(widths)

    def _layers(self) -> Iterator[nn.Module]:
        for name, child in self.named_children():
            if name == "features":
                yield from child.children()
            elif name != "classifier":
                yield child

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map ``(B, 3, H, W)`` to a tuple of ``(B, C, H/s, W/s)``, one for each stride s.

        H and W are multiples of 32.
        """
        maps = []
        for index, layer in enumerate(self._layers()):
            image = layer(image)
            if index in self.taps:
                maps.append(image)
        if hasattr(self, "classifier"):
            maps[-1] = self.classifier(maps[-1])
        return tuple(maps)


@torch.no_grad()
def find_taps(
    layers: Sequence[nn.Module], pools_only: bool, strides: Sequence[int] = STRIDES
) -> tuple[list[int], list[int]]:
    """Return the last layer of each resolution, and the widths there.

    Args:
        layers: run one after the other.
        pools_only: only poolings count, as in the FCN paper.
        strides: of the resolutions.

    Raises:
        ValueError: there is no map of one of the strides.
    """
    side = 64
    map_ = torch.zeros(1, 3, side, side)
    taps: dict[int, tuple[int, int]] = {}
    for index, layer in enumerate(layers):
        training = layer.training
        try:
            map_ = layer.eval()(map_)
        except (AssertionError, RuntimeError):  # takes no map: a transformer's encoder
            break
        finally:
            layer.train(training)
        if map_.ndim != 4:
            break
        for stride in strides:
            square = map_.shape[-2:] == (side // stride, side // stride)
            if square and (isinstance(layer, nn.MaxPool2d) or not pools_only):
                taps[stride] = index, map_.shape[1]
    if set(taps) != set(strides):
        wanted = f"{', '.join(map(str, strides[:-1]))} and {strides[-1]}"
        raise ValueError(f"has no feature maps at strides {wanted}, one layer after the other")
    return [taps[stride][0] for stride in strides], [taps[stride][1] for stride in strides]


def fully_convolutional(dropout: float) -> nn.Sequential:
    """Return VGG's fc6 and fc7 as convolutions, named and numbered as in torchvision's classifier.

    fc6 sees 7x7 and is padded, so that the map keeps its size; a fully connected layer's weights
    ``(4096, 512 * 7 * 7)`` are the same numbers as the convolution's ``(4096, 512, 7, 7)``.
    """
    return nn.Sequential(
        nn.Conv2d(512, 4096, 7, padding=3),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Conv2d(4096, 4096, 1),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
    )
