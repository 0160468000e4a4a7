"""What may have happened to a file on its way: cut off, flipped, lost or repeated bytes."""

from __future__ import annotations

from hypothesis import strategies as st


@st.composite
def damaged(draw: st.DrawFn, raw: bytes) -> bytes:
    """Return ``raw`` with up to three kinds of damage; often whole."""
    content = bytearray(raw)
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3]))):
        kind = draw(st.sampled_from(["flip", "flip", "cut", "lose", "repeat", "set", "append"]))
        if not content:
            break
        at = draw(st.integers(0, len(content) - 1))
        size = draw(st.integers(1, 16))
        if kind == "flip":
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del content[at:]
        elif kind == "lose":
            del content[at : at + size]
        elif kind == "repeat":
            content[at:at] = content[at : at + size]
        elif kind == "set":
            content[at] = draw(st.sampled_from([0, 1, 0x0A, 0x20, 0x7F, 0x80, 0xFF]))
        else:
            content += draw(st.binary(max_size=16))
    return bytes(content)
