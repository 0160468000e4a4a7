"""Lightning callbacks: checkpoints, interrupts, pictures, progress, averaged weights."""

from seglab.callbacks.ema import EMA

__all__ = ["EMA"]
