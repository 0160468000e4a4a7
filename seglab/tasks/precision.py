"""The precision of a task outside of a trainer."""

from __future__ import annotations

from lightning.pytorch.plugins.precision import (
    DoublePrecision,
    HalfPrecision,
    MixedPrecision,
    Precision,
)

from seglab.errors import ConfigError


def precision_plugin(precision: str, device: str) -> Precision:
    """Return Lightning's plugin for ``trainer.precision`` on a type of device, such as ``cuda``.

    Raises:
        ConfigError: 16-mixed on a CPU, which has no such kernels.
    """
    if precision == "16-mixed" and device == "cpu":
        raise ConfigError(f"trainer.precision={precision}: not on a CPU; give bf16-mixed")
    if precision in ("16-mixed", "bf16-mixed"):
        return MixedPrecision(precision, device)  # type: ignore[arg-type]
    if precision in ("16-true", "bf16-true"):
        return HalfPrecision(precision)  # type: ignore[arg-type]
    return DoublePrecision() if precision == "64-true" else Precision()
