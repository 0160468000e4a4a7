"""Composes and checks configurations, and limits untrusted ones."""
