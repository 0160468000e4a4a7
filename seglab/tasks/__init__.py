"""LightningModules: a net with its loss, metrics and optimiser."""
