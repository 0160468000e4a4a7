"""Which addresses processes listen on, as the kernel says it."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

LISTEN = "0A"  # include/net/tcp_states.h


def listening(pids: Iterable[int]) -> set[str]:
    """Return the IP addresses on which the processes listen for TCP connections."""
    inodes = set()
    for pid in pids:
        with suppress(OSError):  # it may have ended
            for handle in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    inodes.add(str(handle.readlink()))
    addresses = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN and f"socket:[{fields[9]}]" in inodes:
                words = fields[1].partition(":")[0]
                packed = b"".join(  # each word of four bytes is in the machine's own order
                    bytes.fromhex(words[start : start + 8])[::-1]
                    for start in range(0, len(words), 8)
                )
                addresses.add(socket.inet_ntop(family, packed))
    return addresses
