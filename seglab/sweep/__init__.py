"""Sweeps: planning jobs, launching them, and collecting results."""
