"""Server-sent events: a part of adapters/http.py that all who stream share."""

from __future__ import annotations

from collections.abc import Iterator


class Events:
    """The data of server-sent events (WHATWG HTML 9.2.6); other fields and comments are skipped."""

    def __init__(self) -> None:
        self.n = 0
        self._rest = b""
        self._data: list[str] = []

    def feed(self, data: bytes) -> Iterator[str]:
        """The events that are complete."""
        self.n += len(data)
        # A lone CR at the end may be half of a CRLF, which would look like two line ends.
        data = self._rest + data
        held = data.endswith(b"\r")
        lines = data[: len(data) - held].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop() + b"\r" * held
        for line in lines:
            yield from self._line(line)

    def flush(self) -> Iterator[str]:
        """An event that lacks its blank line at the end of the stream."""
        yield from self._line(self._rest.rstrip(b"\r"))
        yield from self._line(b"")

    def _line(self, line: bytes) -> Iterator[str]:
        if not line and self._data:
            event, self._data = "\n".join(self._data).strip(), []
            if event:
                yield event
        elif line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" ").decode("utf-8", "replace"))
