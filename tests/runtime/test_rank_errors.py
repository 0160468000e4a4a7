"""How a rank's error reaches the process that waits for it."""

from __future__ import annotations

import pytest

from seglab.data.masks import too_many_objects
from seglab.errors import ConfigError
from seglab.run.untrusted import DamagedError
from seglab.runtime.ranks import error_name


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ConfigError("a"), "ConfigError"),
        (too_many_objects("a.png", 255), "DataError"),
        (DamagedError("a"), "RunError"),
        (ValueError("a"), "ValueError"),
    ],
)
def test_an_error_is_named_by_its_class_in_seglab_errors(error: Exception, name: str) -> None:
    assert error_name(error) == name
