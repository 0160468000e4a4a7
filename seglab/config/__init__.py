"""Composes configurations, instantiates their targets, and limits untrusted ones."""
