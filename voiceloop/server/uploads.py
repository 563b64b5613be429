"""A form with one file, parsed while it comes in: the file goes to the disk, the other fields are small."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from voiceloop.server.exchange import Exchange
from voiceloop.wire.speech_errors import Refusal, bad, too_large

MAX_FILE = 26_214_400
MAX_REST = 64 * 1024
"""Bytes of everything else in the body: the other fields, and the lines between the parts."""
MAX_PARTS = 100

_LARGE = f"file is larger than {MAX_FILE} bytes (25 MB)."


@dataclass(slots=True)
class Form:
    """A parsed form. path: where its file is, as long as the context is open."""

    path: Path
    fields: dict[str, list[str]] = field(default_factory=dict[str, list[str]])


@asynccontextmanager
async def received_form(exchange: Exchange, folder: Path) -> AsyncGenerator[Form, None]:
    """The body of a request as a form. Raises Refusal, Gone. The file is removed at the end, whatever happens."""
    boundary = _boundary(exchange.header("content-type"))
    handle, name = tempfile.mkstemp(prefix="upload-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            form = await _parsed(exchange, boundary, Form(Path(name)), file)
        yield form
    finally:
        with suppress(OSError):
            os.unlink(name)


async def _parsed(exchange: Exchange, boundary: bytes, form: Form, file: BinaryIO) -> Form:
    try:
        parts = _Parts(form, file, boundary)
        async for chunk in exchange.chunks(MAX_FILE + MAX_REST, too_large(_LARGE, "file")):
            parts.feed(chunk)
    except FormParserError as exc:
        raise Refusal(400, f"The form cannot be read: {exc}.", code="invalid_form") from exc
    except OSError as exc:
        raise Refusal(500, f"The upload could not be kept: {exc.strerror}.", code="internal_error") from exc
    parts.check()
    return form


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise Refusal(415, "The body must be multipart/form-data, with the recording as file.", code="unsupported_type")
    if not options.get(b"boundary"):
        raise Refusal(400, "The content type names no boundary.", code="invalid_form")
    return options[b"boundary"]


class _Parts:
    """What the parser calls while it reads."""

    def __init__(self, form: Form, file: BinaryIO, boundary: bytes) -> None:
        self._form = form
        self._file = file
        self._n_file = 0
        self._n_rest = 0
        self._n_parts = 0
        self._n_files = 0
        self._header = (bytearray(), bytearray())
        self._name: str | None = None
        self._value: bytearray | None = None
        self._ended = False
        calls: dict[str, Callable[..., None]] = {
            "on_part_begin": self._part_begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }
        self._parser = MultipartParser(boundary, calls)  # type: ignore[arg-type]

    def feed(self, chunk: bytes) -> None:
        """The next piece of the body. Raises Refusal."""
        self._parser.write(chunk)

    def check(self) -> None:
        """At the end of the body. Raises Refusal."""
        if not self._ended:
            raise Refusal(400, "The form stops in the middle: its last boundary is missing.", code="invalid_form")
        if not self._n_files:
            raise bad("file", "file is missing: send the recording as a file.", "missing_required_parameter")
        if not self._n_file:
            raise bad("file", "file is empty.", "invalid_file")

    def _part_begin(self) -> None:
        self._n_parts += 1
        if self._n_parts > MAX_PARTS:
            raise Refusal(400, f"The form has more than {MAX_PARTS} parts.", code="invalid_form")
        self._name, self._value = None, bytearray()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def _header_end(self) -> None:
        name, value = self._header
        if bytes(name).lower() == b"content-disposition":
            _, options = parse_options_header(bytes(value))
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._header = (bytearray(), bytearray())

    def _headers_finished(self) -> None:
        if self._name == "file":
            self._n_files += 1
            self._value = None
            if self._n_files > 1:
                raise bad("file", "file is there twice: send one recording at a time.", "invalid_form")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._value is None:
            self._n_file += end - start
            if self._n_file > MAX_FILE:
                raise too_large(_LARGE, "file")
            self._file.write(memoryview(data)[start:end])
            return
        self._n_rest += end - start
        if self._n_rest > MAX_REST:
            raise too_large(f"The fields beside file have more than {MAX_REST} bytes.", self._name)
        self._value += data[start:end]

    def _part_end(self) -> None:
        if self._value is None or self._name is None:
            return
        try:
            text = self._value.decode("utf-8")
        except UnicodeDecodeError:
            raise bad(self._name, f"{self._name} is not UTF-8 text.", "invalid_type") from None
        self._form.fields.setdefault(self._name, []).append(text)

    def _end(self) -> None:
        self._ended = True
