"""From a configuration to the augmentation of training samples."""

from __future__ import annotations

from seglab.data.external import ExternalTransform
from seglab.data.transforms import Augmentation, JointTransform
from seglab.errors import ConfigError
from seglab.instantiate import build
from seglab.models.backbones import mean_and_std
from seglab.schema import OWN_TRANSFORM, TrainConfig


def build_augmentation(config: TrainConfig) -> Augmentation:
    """Build the augmentation named by ``transforms``.

    Raises:
        ConfigError: an unknown or rejected argument, a target that is not callable, or a transform
            that would fill class maps with a class.
    """
    data, node = config.data, config.transforms
    # Padding is the mean colour, which is 0 once the task has normalised it.
    fill = [round(255 * mean) for mean in mean_and_std(config.model)[0]]
    settings = {
        "crop_size": data.crop_size,
        "scale": data.scale,
        "flip": data.flip,
        "photometric": data.photometric,
        "fill": fill,
    }
    is_own = node.get("_target_") == OWN_TRANSFORM
    transform = build({**settings, **node} if is_own else node, "transforms")
    if isinstance(transform, JointTransform):
        return transform
    if not callable(transform):
        raise ConfigError(
            f"transforms._target_={node['_target_']}: gives a {type(transform).__name__}, which "
            "cannot be called with an image and its maps"
        )
    return ExternalTransform(transform, data.crop_size, fill)
