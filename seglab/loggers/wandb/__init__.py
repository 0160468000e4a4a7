"""Weights & Biases: one run a job, which nothing that W&B or its server does can stop or slow."""
