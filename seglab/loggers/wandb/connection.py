"""Decides whether a run is logged online, while the data is checked: key first, then server.

By hand, because W&B's ``init`` would prompt for the key and wait for the server.
"""

from __future__ import annotations

import http.client
import os
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from seglab.errors import ConfigError

KEY_HINT = "run `wandb login`, or set WANDB_API_KEY"

PROBE_SECONDS = 5.0
"""How long a server may take to answer anything at all."""


@dataclass(frozen=True)
class Connection:
    """``online`` logging to a ``server``, or offline logging with the reason ``why``."""

    online: bool
    why: str = ""
    server: str = ""


def chosen_mode(configured: str | None) -> str | None:
    """Return ``logger.mode``, or else WANDB_MODE; None: online if there is a key."""
    said = configured or os.environ.get("WANDB_MODE")
    return {"run": "online", "shared": "online", "dryrun": "offline"}.get(said or "", said)


def connect(mode: str | None, timeout: float = PROBE_SECONDS) -> Connection:
    """Import wandb and test whether a run can be logged online.

    Args:
        mode: ``online``, ``offline``, or None: online if there is a key.
        timeout: seconds that the server may take to answer.

    Raises:
        ConfigError: ``online`` was asked for, and there is no key.
    """
    # W&B reports errors to its server; an unresponsive one would delay our exit.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    if mode == "offline":
        wandb.setup()
        return Connection(False, "as asked")
    missing = missing_key(mode == "online")
    if missing and mode == "online":
        raise ConfigError(f"logger.mode=online: {missing}: {KEY_HINT}, or give logger.mode=offline")
    if missing:
        return Connection(False, f"{missing} ({KEY_HINT})")
    server: str = wandb.setup().settings.base_url
    silence = unreachable(server, timeout)
    return Connection(not silence, silence, server)


def missing_key(online: bool = True) -> str:
    """Log in with an existing key, without a prompt; return the problem if there is none."""
    import wandb
    from wandb.errors.term import termsetup

    # WANDB_MODE=offline would skip the key lookup; logger.mode takes precedence.
    settings: dict[str, Any] = {"mode": "online"} if online else {}
    session = wandb.setup(wandb.Settings(**settings))
    silent = session.settings.silent
    # Otherwise it prints where it found the key, and asks the server for the user's name.
    session.settings.update_from_dict({"silent": True})
    termsetup(session.settings, None)
    try:
        return "" if wandb.login(prompt=False, verify=False) else "there is no W&B key"
    except wandb.errors.AuthenticationError:
        return "the W&B key is not valid"
    finally:
        session.settings.update_from_dict({"silent": silent})
        termsetup(session.settings, None)


def unreachable(server: str, timeout: float) -> str:
    """Send a request to a server; return why it is unreachable, or an empty string."""

    class Unfollowed(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *arguments: Any) -> None:
            return None

    try:
        with urllib.request.build_opener(Unfollowed).open(server, timeout=timeout):
            return ""
    except urllib.error.HTTPError as error:
        error.close()
        return f"{server} answers {error.code}" if error.code >= 500 else ""
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, ssl.SSLError):  # W&B may know certificates that we lack
            return ""
        if isinstance(reason, TimeoutError):
            return f"{server} does not answer within {timeout:g} s"
        return f"{server} cannot be reached: {reason}"
