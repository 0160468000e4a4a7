"""Hydra accepts launchers and sweepers from this namespace only: what is seglab's own, again."""

from seglab.sweep import plugins


class GridSweeper(plugins.GridSweeper):
    """See seglab.sweep.plugins."""


class OptunaSweeper(plugins.OptunaSweeper):
    """See seglab.sweep.plugins."""


class LocalLauncher(plugins.LocalLauncher):
    """See seglab.sweep.plugins."""


class SlurmLauncher(plugins.SlurmLauncher):
    """See seglab.sweep.plugins."""


class RayLauncher(plugins.RayLauncher):
    """See seglab.sweep.plugins."""
