"""Inference on images of any size: tiles, scales, objects over tiles, and the memory of an image."""
