"""Whether a file is all there, as far as its own bytes tell without decoding: an upload may have been cut off."""

from __future__ import annotations

import os
from typing import BinaryIO

_ENDLESS = 0x7FFF_0000
"""Sizes from here on, and 0, stand for "unknown"."""

_PAGE_MAX = 65_307
"""Bytes of the longest Ogg page (RFC 3533)."""


def cut_off(file: BinaryIO) -> bool:
    """True if a WAV is shorter than its head says, an Ogg has no last page, or an MP3 fewer bytes than it counts.

    file: leaves it anywhere. False for other formats, and where nothing says how long it should be.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(4096)
    if head[:4] == b"RIFF":
        said = int.from_bytes(head[4:8], "little")
        return 0 < said < _ENDLESS and said + 8 > size + 1
    if head[:4] == b"OggS":
        file.seek(max(0, size - _PAGE_MAX))
        tail = file.read()
        last = tail.rfind(b"OggS")
        return last < 0 or len(tail) < last + 27 or not tail[last + 5] & 4
    start = 0
    if head[:3] == b"ID3":
        for byte in head[6:10]:
            start = start << 7 | byte & 0x7F
        start += 10
        file.seek(start)
        head = file.read(256)
    at = max(head[:60].find(b"Xing"), head[:60].find(b"Info"))
    if head[:1] == b"\xff" and at > 0 and head[at + 7] & 3 == 3:
        return start + int.from_bytes(head[at + 12 : at + 16], "big") > size
    return False
