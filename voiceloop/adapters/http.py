"""The shared HTTP client of the remote engines: deadlines, retries, and foreign exceptions as ProviderError.

    client = service.client("tts")                  # one per engine; the connections are shared
    async with client.open("audio/speech", json={...}) as answer, aclosing(answer.chunks()) as chunks: ...
    await client.aclose()                           # the last one closes the connections

Deadlines are our own and httpx's are off: httpx knows one `read` for the first byte and for all others, and none for
a body that dribbles. No message holds the key or words that were said, not even if the service repeats them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from voiceloop.adapters import http_errors as words
from voiceloop.adapters.http_lanes import Lane, Lanes
from voiceloop.adapters.http_limits import Limits
from voiceloop.errors import ConfigError, ProviderError, ProviderRefused, ProviderTimeout, Stage
from voiceloop.ports import ERRAND

if TYPE_CHECKING:
    import httpcore
    import httpx

log = logging.getLogger("voiceloop.http")

RETRY_STATUS = frozenset({408, 409, 429})
"""Retried besides every 5xx, as the openai SDKs do (shared/WIRE.md section 1)."""

FRESH_S = 4.0
"""A connection used this recently needs no warming up: uvicorn closes idle ones after 5 s, others later."""

ERROR_BYTES = 65_536
"""Read at most this much of an answer that is only looked at to explain an error."""

_WHO = {"stt": "The transcription service", "handler": "The language model service", "tts": "The speech service"}


@dataclass(frozen=True, slots=True)
class _Form:
    json: object = None
    data: Mapping[str, str | list[str]] | None = None
    files: Mapping[str, tuple[str, bytes, str]] | None = None


class Service:
    """One base URL with its key, deadlines and connections; shared by any number of engines and sessions."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        connect_s: float = 3.0,
        first_byte_s: float = 10.0,
        chunk_s: float = 5.0,
        retries: int = 2,
        errand_headers: bool = True,
        total_s: float = 120.0,
        total_bytes: int = 64 * 1024 * 1024,
        backoff_s: float = 0.2,
        longest_wait_s: float = 5.0,
    ) -> None:
        """base_url: http or https, with or without a trailing slash, `/v1` or a whole endpoint.

        errand_headers: tell session and turn (`x-voiceloop-session`, `x-voiceloop-turn`). The others: see Limits.
        Opens nothing. Raises ConfigError if the URL or the key cannot be one.
        """
        url = words.base(base_url)
        key = (api_key or "").strip()
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ConfigError("The API key holds characters that no key has: copy it again, on one line.")
        self.limits = Limits(connect_s, first_byte_s, chunk_s, total_s, total_bytes, retries, backoff_s, longest_wait_s)
        self.host = url.netloc.rpartition("@")[2]
        self.nearby = words.is_loopback(url.hostname or "")
        self.key = key
        self.errand_headers = errand_headers
        self._path = url.path
        self._query = f"?{url.query}" if url.query else ""
        self.lanes = Lanes(url, key)
        self._clients = 0
        self._warming = asyncio.Lock()

    def client(self, stage: Stage) -> Client:
        """A client for one engine; errors carry its stage. Its `aclose` is due when the engine closes."""
        self._clients += 1
        return Client(self, stage)

    def url(self, path: str) -> str:
        """Path and query of an endpoint such as "audio/speech"."""
        return f"{self._path}/{path}{self._query}"

    def headers(self) -> dict[str, str]:
        """For whom this request is made, as far as the session says so (ports.ERRAND)."""
        errand = ERRAND.get()
        if errand is None or not self.errand_headers:
            return {}
        session = "".join(c if c.isascii() and c.isprintable() else "?" for c in errand.session)
        found = {"x-voiceloop-session": session}
        if errand.turn is not None:
            found["x-voiceloop-turn"] = str(errand.turn)
        return found

    async def warm_up(self, connections: int = 2) -> None:
        """Opens connections unless one was in use a moment ago; never fails, but logs why it could not.

        Two, because a reply is still being written while its first clause is spoken. Safe to call at any time.
        """
        async with self._warming:
            missing = connections - self.lanes.n_fresh(asyncio.get_running_loop().time() - FRESH_S)
            async with asyncio.TaskGroup() as group:
                for _ in range(missing):
                    group.create_task(self._knock())

    async def _knock(self) -> None:
        client = Client(self, "handler")
        lane, answer = self.lanes.take(), None
        try:
            # Also without a body: only what is read to its end leaves the connection usable.
            answer = Answer(client, await client.attempt(lane, "HEAD", "models", _Form()), self.limits, ())
            await answer.read(ERROR_BYTES)
        except ProviderError as exc:
            log.warning("not reached yet: %s", exc)
        finally:
            await self.give_back(lane, answer)

    async def ask(self, path: str) -> tuple[int, bytes]:
        """Status and body of a GET, tried once: for a doctor. Raises ProviderError if there is no answer."""
        client, lane, answer = Client(self, "handler"), self.lanes.take(), None
        try:
            response = await client.attempt(lane, "GET", path, _Form())
            answer = Answer(client, response, self.limits, ())
            return response.status_code, await answer.read(ERROR_BYTES)
        finally:
            await self.give_back(lane, answer)

    async def give_back(self, lane: Lane, answer: Answer | None) -> None:
        """The end of an exchange; without an answer read to its end, the end of its connection too."""
        now = asyncio.get_running_loop().time()
        await self.lanes.give_back(lane, now=now, whole=answer is not None and answer.whole)

    async def released(self) -> None:
        """One client fewer; the last one closes the connections."""
        self._clients -= 1
        if self._clients <= 0:
            await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections, whoever uses them. Twice is legal."""
        await self.lanes.aclose()


class Client:
    """What one engine holds of a Service."""

    def __init__(self, service: Service, stage: Stage) -> None:
        self._service = service
        self._closed = False
        self.stage: Stage = stage
        self.who = f"{_WHO[stage]} at {service.host}"

    async def warm_up(self) -> None:
        """Opens the connections; does not fail."""
        await self._service.warm_up()

    async def aclose(self) -> None:
        """Gives the Service back. Twice is legal."""
        if not self._closed:
            self._closed = True
            await self._service.released()

    def error(self, what: str, *, retryable: bool = False) -> ProviderError:
        """A ProviderError whose sentence begins with the service and its host."""
        return ProviderError(f"{self.who} {what}", stage=self.stage, retryable=retryable)

    def refused(self, what: str, *, status: int | None = None) -> ProviderRefused:
        """The same for a service that said no."""
        return ProviderRefused(f"{self.who} {what}", stage=self.stage, status=status)

    @asynccontextmanager
    async def open(
        self,
        path: str,
        *,
        json: object = None,
        data: Mapping[str, str | list[str]] | None = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
        private: Sequence[str] = (),
    ) -> AsyncGenerator[Answer]:
        """POSTs and gives an answer with a status of 2xx, its body unread; leaving the context closes it.

        path: such as "audio/speech". private: texts that no error message may repeat. Retries until the answer
        begins, never after. Raises ProviderError. May be cancelled, which closes the connection.
        """
        lane, answer = await self._begin(path, _Form(json, data, files), private)
        try:
            yield answer
        finally:
            await self._service.give_back(lane, answer)

    async def _begin(self, path: str, form: _Form, private: Sequence[str]) -> tuple[Lane, Answer]:
        limits, attempt = self._service.limits, 0
        while True:
            lane, answer, good = self._service.lanes.take(), None, False
            wait_s = limits.backoff_s * 2**attempt
            try:
                response = await self.attempt(lane, "POST", path, form)
                answer = Answer(self, response, limits, private)
                if good := response.is_success:
                    return lane, answer
                asked_s = words.retry_after(response.headers)
                error = await self._refusal(answer, response, asked_s, private)
                wait_s = wait_s if asked_s is None else asked_s
                if not error.retryable or attempt >= limits.retries or wait_s > limits.longest_wait_s:
                    raise error
            except _Broken as exc:
                if attempt >= limits.retries:
                    raise
                # A kept connection that the server has just closed is the usual case: a new one will do.
                wait_s = 0.0 if attempt == 0 and not exc.unreachable else wait_s
            finally:
                if not good:
                    await self._service.give_back(lane, answer)
            attempt += 1
            await asyncio.sleep(wait_s)

    async def attempt(self, lane: Lane, method: str, path: str, form: _Form) -> httpx.Response:
        """One try, to the end of the answer's headers; any status. Raises ProviderError; _Broken may be repeated."""
        import httpx

        service, limits, http = self._service, self._service.limits, lane.http
        connecting = True
        half_open: httpcore.AsyncNetworkStream | None = None
        try:
            async with asyncio.timeout(limits.connect_s) as deadline:

                async def trace(event: str, info: Mapping[str, Any]) -> None:
                    nonlocal connecting, half_open
                    if event == "connection.connect_tcp.complete":
                        half_open = info["return_value"]
                    elif event in ("connection.start_tls.complete", "http11.send_request_headers.started"):
                        half_open = None
                    step = event.endswith(("send_request_headers.started", "send_request_body.complete"))
                    if step and not deadline.expired():
                        connecting = False
                        deadline.reschedule(asyncio.get_running_loop().time() + limits.first_byte_s)

                request = http.build_request(
                    method,
                    service.url(path),
                    json=form.json,
                    data=form.data,
                    files=form.files,
                    headers=service.headers(),
                    extensions={"trace": trace},
                )
                return await http.send(request, stream=True)
        except TimeoutError as exc:
            what = (
                f"could not be reached within {limits.connect_s:g} s: check the base URL and the network."
                if connecting
                else f"did not answer within {limits.first_byte_s:g} s: it is overloaded or still loading."
            )
            raise ProviderTimeout(f"{self.who} {what}", stage=self.stage, retryable=True) from exc
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, UnicodeError) as exc:
            what, repeatable = words.explain_failure(exc)
            if not repeatable:
                raise self.error(what) from exc
            broken = _Broken(f"{self.who} {what}", stage=self.stage, retryable=True)
            broken.unreachable = isinstance(exc, httpx.ConnectError)
            raise broken from exc
        finally:
            if half_open is not None:  # httpcore 1.0.9 forgets it when a TLS handshake is cancelled
                await half_open.aclose()

    async def _refusal(
        self, answer: Answer, response: httpx.Response, asked_s: float | None, private: Sequence[str]
    ) -> ProviderRefused:
        body, status = b"", response.status_code
        with contextlib.suppress(ProviderError):  # the status says enough
            body = await answer.read(ERROR_BYTES)
        what = words.explain_refusal(
            status,
            said=self.said(body, private),
            asked_s=asked_s,
            has_key=bool(self._service.key),
            location=response.headers.get("location", ""),
        )
        retryable = status in RETRY_STATUS or status >= 500
        return ProviderRefused(f"{self.who} {what}", stage=self.stage, retryable=retryable, status=status)

    def said(self, body: bytes, private: Sequence[str]) -> str:
        """What the service itself says is wrong, as one line; empty if it says nothing that can be repeated."""
        text = body.decode("utf-8", "replace").strip()
        return words.censored(words.explanation(text), key=self._service.key, private=private)


class _Broken(ProviderError):
    """No answer, and the next attempt may get one. unreachable: there was not even a connection."""

    unreachable = False


class Answer:
    """An answer whose headers have come. Read it once, by `chunks` or by `read`. whole: it was, to its end.

    content_type, rate: what its header says; None if that says nothing about a rate, Hz.
    """

    def __init__(self, client: Client, response: httpx.Response, limits: Limits, private: Sequence[str]) -> None:
        self._client = client
        self._response = response
        self._limits = limits
        self._private = private
        self.whole = False
        kind, _, more = response.headers.get("content-type", "").lower().partition(";")
        self.content_type: str = kind.strip()
        self.rate = words.rate(more)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body in pieces as they come, none empty. Raises ProviderError if it stops, breaks off or never ends."""
        import httpx

        limits, loop = self._limits, asyncio.get_running_loop()
        waited_s, n = 0.0, 0
        patience_s = limits.first_byte_s
        async with aclosing(cast("AsyncGenerator[bytes, None]", self._response.aiter_bytes())) as pieces:
            while True:
                began = loop.time()
                try:
                    async with asyncio.timeout(min(patience_s, limits.total_s - waited_s)):
                        piece = await anext(pieces, None)
                except TimeoutError as exc:
                    raise self._late(n, waited_s + loop.time() - began) from exc
                except (httpx.HTTPError, httpx.StreamError, OSError) as exc:
                    raise self._client.error(
                        f"broke off its answer after {n} bytes: look at its log.", retryable=True
                    ) from exc
                if piece is None:
                    self.whole = True
                    return
                waited_s += loop.time() - began
                n += len(piece)
                if n > limits.total_bytes:
                    raise self._client.error(f"sent more than {limits.total_bytes} bytes and was cut off.")
                if piece:
                    patience_s = limits.chunk_s
                    yield piece

    def _late(self, n: int, waited_s: float) -> ProviderTimeout:
        limits = self._limits
        if waited_s >= limits.total_s:
            what = f"did not end its answer within {limits.total_s:g} s."
        elif n == 0:
            what = f"began an answer but sent nothing within {limits.first_byte_s:g} s: it is overloaded."
        else:
            what = f"paused for {limits.chunk_s:g} s in the middle of its answer: it is overloaded."
        return ProviderTimeout(f"{self._client.who} {what}", stage=self._client.stage, retryable=True)

    async def read(self, limit: int | None = None) -> bytes:
        """The whole body, or what came of it once `limit` bytes are there."""
        body = bytearray()
        async with aclosing(self.chunks()) as chunks:
            async for piece in chunks:
                body += piece
                if limit is not None and len(body) >= limit:
                    break
        return bytes(body)

    def broken(self, what: str) -> ProviderError:
        """The error for an answer that ended too early."""
        return self._client.error(what, retryable=True)

    def unexpected(self, body: bytes, wanted: str) -> ProviderRefused:
        """The error for a success that is none: a web page or an error object with status 200."""
        said = self._client.said(body, self._private)
        kind = self.content_type or "no content type"
        return self._client.refused(
            f"answered {self._response.status_code} with {kind}{f' ({said})' if said else ''} "
            f"instead of {wanted}: check the base URL and the model."
        )
