"""Several scales and the mirror image, against a plain mean."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from seglab.inference.views import mean_logits, resize


def float_net(image: Tensor) -> Tensor:
    torch.manual_seed(0)
    return nn.Conv2d(3, 4, 3, padding=1)(image.float() / 255)


@torch.no_grad()
def test_the_logits_are_the_mean_over_scales_and_mirror_images() -> None:
    image = torch.randint(0, 256, (2, 3, 21, 34), dtype=torch.uint8)
    logits = []
    for scale in (0.5, 1.0, 1.75):
        size = (round(21 * scale), round(34 * scale))
        scaled = torch.stack([
            torch.from_numpy(np.asarray(
                Image.fromarray(one.permute(1, 2, 0).numpy()).resize(size[::-1], Image.BILINEAR)
            ).copy()).permute(2, 0, 1)
            for one in image
        ])  # fmt: skip
        for mirror in (False, True):
            found = float_net(scaled.flip(-1) if mirror else scaled)
            found = found.flip(-1) if mirror else found
            logits.append(nn.functional.interpolate(found, (21, 34), mode="bilinear"))
    expected = torch.stack(logits).mean(0)
    # Pillow rounds between its two passes, so a pixel may differ by one of 255.
    result = mean_logits(image, float_net, (0.5, 1.0, 1.75), flip=True)
    torch.testing.assert_close(result, expected, atol=0.01, rtol=0)


@torch.no_grad()
def test_scale_one_is_the_net_s_own_output() -> None:
    image = torch.randint(0, 256, (1, 3, 21, 34), dtype=torch.uint8)
    assert torch.equal(mean_logits(image, float_net, (1.0,), flip=False), float_net(image))


def test_an_image_keeps_a_pixel_at_least() -> None:
    assert resize(torch.zeros(1, 3, 1, 40, dtype=torch.uint8), 0.25).shape == (1, 3, 1, 10)
