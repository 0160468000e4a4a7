"""Whether a run is logged online, found out beside the checks of the data: key first, then server.

W&B's own ``init`` answers both questions too, by a prompt and by waiting.
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
    """How to log: ``online`` to a ``server``, or offline and ``why``."""

    online: bool
    why: str = ""
    server: str = ""


def chosen_mode(configured: str | None) -> str | None:
    """Return ``logger.mode``, or what W&B's own variable WANDB_MODE says; None leaves it to us."""
    said = configured or os.environ.get("WANDB_MODE")
    return {"run": "online", "shared": "online", "dryrun": "offline"}.get(said or "", said)


def connect(mode: str | None, timeout: float = PROBE_SECONDS) -> Connection:
    """Import wandb and find out whether a run can be logged online.

    Args:
        mode: ``online``, ``offline``, or None: online if there is a key.
        timeout: seconds that the server may take to answer.

    Raises:
        ConfigError: ``online`` was asked for, and there is no key.
    """
    # W&B reports its errors to its server; one that does not answer would hold up our exit.
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
    """Log in with the key that is there, without a prompt; say what is wrong if there is none."""
    import wandb
    from wandb.errors.term import termsetup

    # WANDB_MODE=offline would keep the key from being looked for; logger.mode has overruled it.
    settings: dict[str, Any] = {"mode": "online"} if online else {}
    session = wandb.setup(wandb.Settings(**settings))
    silent = session.settings.silent
    # Or it would say where it found the key, and ask the server for the user's name.
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
    """Ask a server for anything; return why it is of no use, or nothing if it answers."""

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
        if isinstance(reason, ssl.SSLError):  # W&B may have been told of certificates that we lack
            return ""
        if isinstance(reason, TimeoutError):
            return f"{server} does not answer within {timeout:g} s"
        return f"{server} cannot be reached: {reason}"
