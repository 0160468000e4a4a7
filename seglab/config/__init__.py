"""Composes configurations, builds what they name, and limits what a stranger's file may name."""
