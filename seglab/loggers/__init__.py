"""Loggers: metrics.csv, W&B, and others of Lightning."""
