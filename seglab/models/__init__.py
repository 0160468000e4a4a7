"""Plain networks, usable without Lightning and without Hydra."""

from seglab.models.fcn import FCN
from seglab.models.mask_rcnn import MaskRCNN
from seglab.models.padded_cnn import PaddedCNN
from seglab.models.padded_head import PaddedHead
from seglab.models.padding import PadToMultiple

__all__ = ["FCN", "MaskRCNN", "PadToMultiple", "PaddedCNN", "PaddedHead"]
