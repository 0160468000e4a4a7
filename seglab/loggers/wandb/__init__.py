"""Weights & Biases: one run per job; no failure of W&B or its server stops or slows a job."""
