"""``seglab workspace``: the saved view and the report of a W&B project."""

from __future__ import annotations

from rich.console import Console

from seglab.config.compose import compose
from seglab.errors import ConfigError
from seglab.printing import print_plain
from seglab.schema import WorkspaceConfig


def main(overrides: list[str]) -> None:
    """Write the view and the report of ``logger.project``, or update them.

    Raises:
        ConfigError: wandb-workspaces is not installed, or there is no key.
        RunError: the server cannot be reached, or refuses.
    """
    logger = compose("workspace", WorkspaceConfig, overrides).config.logger
    if logger.name != "wandb" or logger.mode in ("offline", "disabled"):
        raise ConfigError("seglab workspace needs logger=wandb and a server: leave logger.mode out")
    from seglab.loggers.wandb.workspace import lay_out

    console = Console()
    for name, url in lay_out(str(logger.project), logger.entity).items():
        print_plain(f"{name:<18} {url}", console)
