"""Inference on images of any size: tiles, scales, objects over tiles, memory."""
