"""From a configuration to a task."""

from __future__ import annotations

from torch import nn

from seglab.config.instantiate import build
from seglab.errors import ConfigError
from seglab.models.channels import with_channels
from seglab.schema import TrainConfig
from seglab.tasks.base import Task
from seglab.tasks.instance import InstanceSegmentation
from seglab.tasks.semantic import SemanticSegmentation

TASKS: dict[str, type[Task]] = {
    "semantic": SemanticSegmentation,
    "instance": InstanceSegmentation,
}


def build_task(config: TrainConfig, per_image: bool = False) -> Task:
    """Build the configured net and the task around it; see :class:`seglab.tasks.base.Task`.

    Raises:
        ConfigError: an argument that the net does not take or refuses, or an output that does not
            fit the classes.
    """
    net = build(config.model.net, "model.net")
    if not isinstance(net, nn.Module):
        raise ConfigError(f"model.net._target_={config.model.net['_target_']}: not an nn.Module")
    try:
        with_channels(net, config.data.channels)
    except ValueError as error:
        text = f"model.net: {error}, which data.channels={config.data.channels} needs"
        raise ConfigError(text) from None
    task = TASKS[config.model.task](net, config, per_image)
    task.check_output()
    return task
