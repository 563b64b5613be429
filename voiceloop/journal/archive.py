"""A zip that is readable however it ends: members are appended whole, and found again without the directory.

A zip's directory stands at its end, and is missing when a program was killed or a file was cut off. But each member
carries its own header with name, sizes and checksum (APPNOTE 4.3.7), so a file is read from the front, as far as
whole members go. A file that was closed has a directory too, and any unzip program opens it.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from io import BytesIO
from os import PathLike
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

_HEADER = struct.Struct("<4s5H3I2H")
_MEMBER, _DIRECTORY = b"PK\x03\x04", b"PK\x01\x02"
_LARGEST = 64 << 20
"""Bytes of a member that is believed; a second of sound and events has some ten thousand."""
_PACKED = (".json", ".jsonl")


class Archive:
    """A new file, for its owner only: it holds voices. Members reach the disk whole.

    Every call may raise OSError.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self._file = open(path, "wb", buffering=0, opener=_private)  # noqa: SIM115  `close` closes it
        self._tail = _Tail()
        self._zip = ZipFile(self._tail, "w")

    def add(self, members: Sequence[tuple[str, bytes]]) -> None:
        """Appends members, text packed and sound as it is, and hands them to the operating system."""
        for name, content in members:
            info = ZipInfo(name)  # always of 1980: two recordings of the same are the same
            info.compress_type = ZIP_DEFLATED if name.endswith(_PACKED) else ZIP_STORED
            self._zip.writestr(info, content)
            self._write(self._tail.take())

    def close(self) -> None:
        """Writes the directory. Twice is legal."""
        if self._file.closed:
            return
        try:
            self._zip.close()
            self._write(self._tail.take())
        finally:
            self._file.close()

    def _write(self, content: bytes) -> None:
        rest = memoryview(content)
        while rest:  # a raw file may take less than it is given
            rest = rest[self._file.write(rest) :]


def members(path: str | PathLike[str]) -> tuple[list[tuple[str, bytes]], bool]:
    """All whole members in order, and whether the file was closed. Raises OSError."""
    data = Path(path).read_bytes()
    found: list[tuple[str, bytes]] = []
    at = 0
    while data[at : at + 4] == _MEMBER and at + _HEADER.size <= len(data):
        _, _, _, method, _, _, crc, packed, size, n_name, n_extra = _HEADER.unpack_from(data, at)
        name = at + _HEADER.size
        begin = name + n_name + n_extra
        at = begin + packed
        content = _unpacked(data[begin:at], method, size)
        if at > len(data) or content is None or zlib.crc32(content) != crc:
            return found, False
        found.append((data[name : name + n_name].decode(errors="replace"), content))
    return found, data[at : at + 4] == _DIRECTORY


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _unpacked(content: bytes, method: int, size: int) -> bytes | None:
    if method == ZIP_DEFLATED and size <= _LARGEST:
        try:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, size + 1)
        except zlib.error:
            return None
    return content if len(content) == size else None


class _Tail(BytesIO):
    """What is not yet on the disk. ZipFile writes a header, the content, and then the header again with the sizes:
    here it may go back, on the disk nothing is ever half true."""

    def __init__(self) -> None:
        super().__init__()
        self._base = 0

    def tell(self) -> int:
        return self._base + super().tell()

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._base + super().seek(offset - self._base if whence == 0 else offset, whence)

    def take(self) -> bytes:
        content = self.getvalue()
        self._base += len(content)
        super().seek(0)
        self.truncate()
        return content
