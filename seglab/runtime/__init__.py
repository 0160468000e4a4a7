"""Processes: launch, ranks, signals, threads, and files on disk."""
