"""A PNG reader of our own, to hold against the one under test: strict, slow, and few kinds only."""

from __future__ import annotations

import struct
import zlib

import numpy as np

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


class Unreadable(Exception):
    """Not a whole PNG of 8 bits a channel (or a palette of fewer) without interlacing."""


def read_png(raw: bytes) -> tuple[int, np.ndarray, np.ndarray]:
    """Return colour type, samples ``(H, W, C)`` uint8 and palette ``(N, 3)`` (PNG 3rd edition)."""
    if raw[:8] != b"\x89PNG\r\n\x1a\n":
        raise Unreadable("signature")
    at, data, palette, head = 8, b"", b"", b""
    while True:
        if at + 8 > len(raw):
            raise Unreadable("no end")
        if raw[at + 4 : at + 8] == b"IEND":  # holds nothing that could be wrong
            break
        (length,) = struct.unpack(">I", raw[at : at + 4])
        kind, body = raw[at + 4 : at + 8], raw[at + 8 : at + 8 + length]
        check = raw[at + 8 + length : at + 12 + length]
        if check != struct.pack(">I", zlib.crc32(kind + body)):
            raise Unreadable("checksum")
        at += 12 + length
        if kind == b"IHDR":
            head = body
        elif kind == b"PLTE":
            palette = body
        elif kind == b"IDAT":
            data += body
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", head)
    if interlaced or colour not in CHANNELS or (depth != 8 and colour != 3) or depth > 8:
        raise Unreadable("kind")
    channels = CHANNELS[colour]
    stride = (width * channels * depth + 7) // 8
    lines = np.frombuffer(zlib.decompress(data), np.uint8)[: height * (stride + 1)]
    rows = _unfiltered(lines.reshape(height, stride + 1), max(1, channels * depth // 8))
    if depth < 8:
        bits = np.unpackbits(rows, axis=1).reshape(height, -1, depth)
        rows = np.packbits(bits, axis=2)[..., 0] >> (8 - depth)
    samples = rows[:, : width * channels].reshape(height, width, channels)
    return colour, samples, np.frombuffer(palette, np.uint8).reshape(-1, 3)


def _unfiltered(lines: np.ndarray, step: int) -> np.ndarray:
    rows = np.zeros((len(lines), lines.shape[1] - 1), np.uint8)
    above = np.zeros(lines.shape[1] - 1, int)
    for number, (kind, *line) in enumerate(lines.tolist()):
        row: list[int] = []
        for place, value in enumerate(line):
            left = row[place - step] if place >= step else 0
            up = int(above[place])
            corner = int(above[place - step]) if place >= step else 0
            guess = left + up - corner
            paeth = min((left, up, corner), key=lambda one: abs(guess - one))
            row.append((value + (0, left, up, (left + up) // 2, paeth)[kind]) % 256)
        rows[number] = above = np.array(row, int)
    return rows
