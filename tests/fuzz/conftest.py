"""Says at the end of the tests how many inputs they tried, and what these came to."""

from __future__ import annotations

from typing import Any

from helpers.fuzzing import TOTAL, tally


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not TOTAL:
        return
    tests = dict.fromkeys(test for test, _ in tally)
    terminalreporter.section("inputs tried")
    for test in tests:
        accepted, refused = tally[test, "accepted"], tally[test, "refused"]
        terminalreporter.line(f"{test:<40} {accepted:>6} accepted {refused:>6} refused")
    terminalreporter.line(f"{sum(tally.values())} inputs in all")
