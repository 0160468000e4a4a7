"""Instance segmentation: every object gets a mask, a class and a score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection import MaskRCNN

from seglab.data.batches import Batch
from seglab.data.instances import Detections, find_instances
from seglab.errors import ConfigError
from seglab.inference.objects import tiled_objects
from seglab.inference.votes import voted_objects
from seglab.metrics.mask_ap import MaskAP, void_pixels
from seglab.models.exported import OnnxObjects
from seglab.tasks.base import Output, Task, singles

MASK_THRESHOLD = 0.5
"""A pixel is of an object from this probability on (He et al., 2017, section 3.1)."""


class InstanceSegmentation(Task):
    """Objects by torchvision's Mask R-CNN, its own losses; class maps are painted by score.

    Args:
        net: the Mask R-CNN, or one in a file.
        classes: the names of the K classes, in the order of their values.
        score_threshold: objects with a lower score are not painted into class maps.
        others: as :class:`seglab.tasks.base.Task` takes them.
    """

    def __init__(
        self,
        net: MaskRCNN | OnnxObjects,
        classes: Sequence[str],
        *,
        score_threshold: float = 0.5,
        **others: Any,
    ) -> None:
        super().__init__(net, classes, **others)
        self.score_threshold = score_threshold
        self.mask_ap = MaskAP(self.classes)

    def forward(self, image: Tensor) -> list[dict[str, Tensor]]:
        """Map plain ``(B, C, H, W)`` uint8 to torchvision's results, one per image."""
        results: list[dict[str, Tensor]] = self.net(list(self.normalise(image)))
        return results

    def infer(self, image: Tensor) -> list[Detections]:
        """Map ``(B, C, H, W)`` uint8 to the objects of each image, over all views evaluated.

        One image at a time: the heads batch the proposals of all images, and a matrix product with
        a different number of rows differs in its last bits.
        """
        if self.tiling is None:
            return [self._whole(single) for single in singles(image)]
        return [
            tiled_objects(single, self.tiling, self._whole, self.limit) for single in singles(image)
        ]

    @property
    def limit(self) -> int:
        """The largest number of objects in an image."""
        net = self.net
        assert isinstance(net, MaskRCNN | OnnxObjects)
        return net.limit if isinstance(net, OnnxObjects) else int(net.roi_heads.detections_per_img)

    def _whole(self, image: Tensor) -> Detections:
        """Map ``(1, C, H, W)`` uint8, an image or a tile, to its objects."""
        return voted_objects(
            image, lambda view: _detections(self(view)[0]), self.scales, self.flip, self.limit
        )

    def predict(self, image: Tensor) -> Output:
        """Map ``(B, C, H, W)`` uint8 to objects, and to class maps painted from them.

        Objects above the threshold are painted by ascending score.
        """
        objects = self.infer(image)
        painted = [each.above(self.score_threshold) for each in objects]
        maps = torch.stack([each.paint(each.labels) for each in painted])
        return Output(maps, None, objects, painted)

    def check_output(self) -> None:
        """Check that the heads fit the classes.

        Raises:
            ConfigError: they are made for another number of them, or the net for other channels.
        """
        if isinstance(self.net, OnnxObjects):
            return
        assert isinstance(self.net, MaskRCNN)
        normalised, channels = len(self.net.transform.image_mean), self.mean.numel()
        if normalised not in (1, channels):
            raise ConfigError(
                f"model.net: normalises {normalised} channels, not data.channels={channels}; give "
                f"model.net.image_mean={[0.0] * channels} model.net.image_std={[1.0] * channels}"
            )
        scored = self.net.roi_heads.box_predictor.cls_score.out_features
        if scored != len(self.classes):
            raise ConfigError(
                f"model.net: scores {scored} classes; must be {len(self.classes)}, the number of "
                "data.classes"
            )

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Return the sum of torchvision's losses, each of which is logged."""
        assert batch.instance_map is not None
        targets = []
        for class_map, instance_map in zip(batch.class_map, batch.instance_map, strict=True):
            objects = find_instances(class_map, instance_map)
            targets.append(
                {"boxes": objects.boxes, "labels": objects.labels, "masks": objects.masks}
            )
        parts: dict[str, Tensor] = self.net(list(self.normalise(batch.image)), targets)
        loss = torch.stack(list(parts.values())).sum()
        named = {"train/loss": loss, **{f"train/{name}": part for name, part in parts.items()}}
        self.log_dict(named, batch_size=len(batch.ids), sync_dist=True)
        self.log_exact(self.learning_rates())
        return loss

    # Lightning hands to callbacks whatever this returns.
    def validation_step(self, batch: Batch, batch_index: int) -> Output:  # type: ignore[override]
        """Add a batch to the metrics and return the output."""
        if not batch.ids:  # a process without an image
            return Output(batch.class_map)
        assert batch.instance_map is not None
        output = self.predict(batch.image)
        self.update_metrics(output.class_map, batch)
        truths = zip(output.objects or (), batch.class_map, batch.instance_map, strict=True)
        for (objects, class_map, instance_map), index in zip(truths, batch.position, strict=True):
            truth = find_instances(class_map, instance_map)
            self.mask_ap.update(objects, truth, void_pixels(class_map, instance_map), int(index))
        return Output(output.class_map, self.metrics.latest, output.objects, output.sure)

    def compute_scores(self) -> dict[str, float]:
        """Return the metrics of class maps, and of masks."""
        precision: dict[str, float] = self.mask_ap.compute()
        self.mask_ap.reset()
        return {**super().compute_scores(), **precision}


def _detections(result: dict[str, Tensor]) -> Detections:
    masks = result["masks"][:, 0] >= MASK_THRESHOLD
    order = result["scores"].argsort(descending=True, stable=True)
    ordered = (x[order] for x in (masks, result["labels"], result["scores"], result["boxes"]))
    return Detections(*ordered)
