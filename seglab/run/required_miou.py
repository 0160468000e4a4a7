"""Whether a run has reached the mIoU that ``evaluation.required_miou`` asks for."""

from __future__ import annotations

from seglab.errors import RunError
from seglab.schema import LossConfig, TrainConfig


def check_required_miou(config: TrainConfig, miou: float) -> str:
    """Return the verdict on a run that has reached ``evaluation.required_miou``.

    Raises:
        RunError: it has not; suggests what to check.
    """
    required, data = config.evaluation.required_miou, config.data
    if required is None:
        return ""
    learned = data.val_split == data.train_split
    images = f"the images that it {'learned' if learned else 'validated on'}"
    if miou >= required:
        can = "the model can learn: " if learned else ""
        return f"{can}val/mIoU {miou:.4f} on {images}, at least {required:g}"
    weights = config.loss.class_weights if isinstance(config.loss, LossConfig) else None
    looked = [
        f"optimizer.lr={config.optimizer.lr:g}",
        f"trainer.max_epochs={config.trainer.max_epochs}",
    ]
    looked += [f"loss.class_weights={weights}"] if weights else []
    looked += [f"model.frozen={config.model.frozen}"] if config.model.frozen else []
    looked += ["model.frozen_norms=true"] if config.model.frozen_norms else []
    raise RunError(
        f"val/mIoU {miou:.4f} on {images}, less than evaluation.required_miou={required:g}; look "
        f"at {', '.join(looked)}, the loss, the strides of the net, and the classes and void of "
        "the masks (seglab data show, seglab data check)"
    )
