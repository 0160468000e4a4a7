"""Checking a split, its identity, and its decoded pixels."""
