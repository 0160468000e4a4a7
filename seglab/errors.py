"""User-facing errors: one clear line each, and an exit code."""

import difflib
from collections.abc import Iterable


class SeglabError(Exception):
    """An error shown as one line that names the file or key and the fix."""

    exit_code = 1


class ConfigError(SeglabError):
    """A wrong command line or configuration: an unknown key, a wrong type, an impossible value."""

    exit_code = 2


class DataError(SeglabError):
    """A data set or a file of it that cannot be used as it is."""


class RunError(SeglabError):
    """A run folder or a checkpoint that cannot be used as it is."""


class DivergedError(RunError):
    """A loss or a weight of a run is not finite."""


class ProcessError(SeglabError):
    """A process of a run died, and could not mark the run as failed."""


def options(wrong: str, known: Iterable[str]) -> str:
    """Return a hint for an unknown name: its nearest matches, or all known names."""
    names = list(known)
    close = difflib.get_close_matches(wrong, names, n=3)
    return f"nearest: {', '.join(close)}" if close else f"available: {', '.join(names) or 'none'}"


def one_line(error: BaseException | str) -> str:
    """Return the text of an error as one line; its type where the text is empty."""
    return " ".join(str(error).split()) or type(error).__name__
