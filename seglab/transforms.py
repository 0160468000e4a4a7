"""The augmentation that a configuration can name; see :mod:`seglab.data.external`."""

from seglab.data.external import Albumentations, void_fill
from seglab.data.transforms import JointTransform

__all__ = ["Albumentations", "JointTransform", "void_fill"]
