"""A connection to a server of ours, by the package websockets."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidProxy, InvalidStatus, InvalidURI

from voiceloop.errors import ConfigError, LineError

OPEN_S = 5.0
"""A connection that does not come about by then is given up."""

CLOSE_S = 0.3

_WRITES = 6_400
"""Bytes (0.2 s of sound) that may wait inside; more waits where it can be sent again."""

_LOCAL_END = 1006

_HERE = ("localhost", "127.0.0.1", "::1")
"""No proxy leads to this machine."""


class _Detail(msgspec.Struct):
    message: str = ""


class _Refusal(msgspec.Struct):
    error: _Detail


class WebSocket:
    """Text and binary frames."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def receive(self) -> str | bytes:
        """The next frame. Raises LineError when the connection has ended."""
        try:
            return await self._connection.recv()
        except ConnectionClosed as exc:
            raise _ended(exc) from None

    async def send(self, frame: str | bytes) -> None:
        """Waits until little of it waits. Raises LineError when the connection has ended."""
        try:
            await self._connection.send(frame)
        except ConnectionClosed as exc:
            raise _ended(exc) from None

    async def close(self) -> None:
        """The end, within CLOSE_S. Never raises."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._connection.close()
        except (OSError, TimeoutError):  # behind what a dead line does not take, the farewell would wait for ever
            self._connection.transport.abort()


async def dial(url: str, key: str = "") -> WebSocket:
    """A connection to a server's `/ws`. key: if it asks for one. Raises LineError."""
    where = shown(url)
    headers = {"Authorization": f"Bearer {key}"} if key else None
    try:
        connection = await connect(
            url,
            additional_headers=headers,
            compression=None,  # it doubles the cost of a message, for sound that does not shrink
            open_timeout=OPEN_S,
            write_limit=_WRITES,
            proxy=None if urlsplit(url).hostname in _HERE else True,
        )
    except TimeoutError:
        raise LineError(f"{where} does not answer.") from None
    except InvalidStatus as exc:
        status = exc.response.status_code
        raise LineError(
            _refused(where, status, bytes(exc.response.body or b"")), retryable=status >= 500 or status == 429
        ) from None
    except ssl.SSLError as exc:
        reason = exc.verify_message if isinstance(exc, ssl.SSLCertVerificationError) else exc.reason or "no TLS there"
        said = f"{where} cannot be trusted ({reason}): SSL_CERT_FILE may name the certificate to trust."
        raise LineError(said, retryable=False) from None
    except (InvalidURI, InvalidProxy, ImportError) as exc:  # the last one: what a SOCKS proxy needs is not installed
        raise LineError(f"{where} cannot be reached: {exc}.", retryable=False) from None
    except (InvalidHandshake, EOFError):
        raise LineError(f"What answers at {where} is no server of voiceloop.") from None
    except OSError as exc:
        raise LineError(f"There is no server at {where}{_because(exc)}: is voiceloop serve running there?") from None
    return WebSocket(connection)


def address(text: str) -> str:
    """The address of a server's `/ws`, from that one or the page's. Raises ConfigError."""
    parts = urlsplit(text if "://" in text else f"ws://{text}")
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    try:
        whole = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        whole = False
    if scheme not in ("ws", "wss") or not whole:
        raise ConfigError(f"{shown(text)} is no address of a server: write ws://HOST:PORT, or that of its page.")
    path = parts.path if parts.path.endswith("/ws") else parts.path.rstrip("/") + "/ws"
    return urlunsplit((scheme, parts.netloc, path, "", ""))


def shown(url: str) -> str:
    """An address without what may be secret."""
    return url.partition("?")[0].rpartition("@")[2] if "@" in url else url.partition("?")[0]


def _ended(exc: ConnectionClosed) -> LineError:
    code, reason = (exc.rcvd.code, exc.rcvd.reason) if exc.rcvd else (_LOCAL_END, "")
    return LineError(reason, code=code)


def _because(exc: OSError) -> str:
    if isinstance(exc, socket.gaierror):
        return " (nobody knows that name)"
    if exc.errno:
        return f" ({os.strerror(exc.errno).lower()})"
    return " (it hung up)" if isinstance(exc, ConnectionError) else ""


def _refused(where: str, status: int, body: bytes) -> str:
    """The server's sentence, or what the status means."""
    with suppress(msgspec.DecodeError):
        if said := msgspec.json.decode(body, type=_Refusal).error.message:
            return f"{where} refuses: {said}"
    if status == 404:
        return f"There is no conversation to be had at {where}: is that a server of voiceloop, with its page?"
    return f"{where} refuses with status {status}."
