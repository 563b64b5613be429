"""What a failed request means, in words for the user; pure functions of adapters/http.py."""

from __future__ import annotations

import contextlib
import email.utils
import ipaddress
import json
import re
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import cast
from urllib.parse import SplitResult, urlsplit

from voiceloop.errors import ConfigError

_ENDPOINTS = re.compile(r"/(audio/(speech|transcriptions)|chat/completions|models)$")
_VERSION = re.compile(r"/v\d+[a-z0-9]*(/|$)")
_KEYLIKE = re.compile(r"\bsk-\S+|\S*\*{3,}\S*|(?i:bearer )\S+")
"""Keys as services repeat them, also with most of it starred out."""


def explain_failure(exc: Exception) -> tuple[str, bool]:
    """Half a sentence about a request that got no answer, and whether trying again may help.

    exc: of httpx, or an OSError, or a UnicodeError of a host name.
    """
    import httpx

    causes = list(_causes(exc))
    if any(isinstance(c, ssl.SSLCertVerificationError) for c in causes):
        return "has a certificate that is not trusted: check the base URL and this machine's clock.", False
    if any(isinstance(c, ssl.SSLError) for c in causes):
        return "does not speak TLS there: try http:// in the base URL, or another port.", False
    if any(isinstance(c, socket.gaierror) for c in causes):
        return "has a name that cannot be looked up: check the base URL and the network.", True
    if any(isinstance(c, ConnectionRefusedError) for c in causes):
        return "refuses connections: start it, or check host and port of the base URL.", True
    if isinstance(exc, httpx.ConnectError):
        return "cannot be reached: check the base URL and the network.", True
    if isinstance(exc, httpx.RemoteProtocolError | httpx.NetworkError | OSError):
        return "broke the connection before it answered: look at its log.", True
    return f"cannot be asked ({type(exc).__name__}): check the base URL.", False


def censored(text: str, *, key: str, private: Sequence[str]) -> str:
    """text as one short line without the key; empty if it repeats something private."""
    text = " ".join(text.split())
    if key:
        text = text.replace(key, "[key]")
    text = _KEYLIKE.sub("[key]", text).rstrip(".")
    if any(_repeats(text, words) for words in private):
        return ""
    return text if len(text) <= 200 else text[:200] + "..."


def base(base_url: str) -> SplitResult:
    """The URL up to and including the version, without a slash at its end. Raises ConfigError."""
    url: SplitResult | None = None
    with contextlib.suppress(ValueError):  # a port that is no number, a broken IPv6 address
        found = urlsplit(base_url.strip())
        if found.scheme in ("http", "https") and found.hostname and found.port != 0:
            url = found
    if url is None:
        shown = repr(base_url) if "@" not in base_url else "(with a password)"
        raise ConfigError(
            f"The base URL {shown} is none: write it like https://api.openai.com/v1 or http://127.0.0.1:8000/v1."
        )
    path = _ENDPOINTS.sub("", url.path.rstrip("/"))
    if not _VERSION.search(path):
        path += "/v1"
    return url._replace(path=path, fragment="")


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the service asks us to wait; None if it does not say, or says nonsense.

    A date counts from the answer's own `date`, not from our clock, which may be wrong.
    """
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with contextlib.suppress(KeyError, ValueError):
            wait_s = float(headers[name]) * unit_s
            if 0 <= wait_s < float("inf"):
                return wait_s
    with contextlib.suppress(KeyError, ValueError, TypeError):
        then, now = (email.utils.parsedate_to_datetime(headers[name]) for name in ("retry-after", "date"))
        return max(0.0, (then - now).total_seconds())
    return None


def rate(parameters: str) -> int | None:
    """The rate in the parameters of a content type, Hz, as in `audio/l16; rate=16000`."""
    found = re.search(r"(?:^|;)\s*rate\s*=\s*\"?(\d{4,6})\b", parameters)
    return int(found[1]) if found else None


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    """An exception, what it came from, and the members of groups among them."""
    while exc is not None:
        yield exc
        if isinstance(exc, BaseExceptionGroup):
            for member in cast("BaseExceptionGroup[BaseException]", exc).exceptions:
                yield from _causes(member)
        exc = exc.__cause__ or exc.__context__


def explain_refusal(status: int, *, said: str, asked_s: float | None, has_key: bool, location: str) -> str:
    """Half a sentence about an answer of 3xx to 5xx, and what to do.

    said: what the service says itself. asked_s: the pause it asks for. location: of a redirect.
    """
    said = f" ({said})" if said else ""
    wait = f" and asks to wait {asked_s:g} s" if asked_s is not None else ""
    return f"answered {status}{said}{wait}: {_advice(status, has_key=has_key, location=location)}."


def _advice(status: int, *, has_key: bool, location: str) -> str:
    if 300 <= status < 400:
        where = urlsplit(location).netloc.rpartition("@")[2]
        return f"it has moved{f' to {where}' if where else ''}, so correct the base URL"
    if status == 401:
        return "check the API key" if has_key else "it wants an API key, so set one"
    if status >= 500:
        return "it is broken or overloaded, so try again later or look at its log"
    return {
        403: "check what the API key is allowed to do",
        404: "check the base URL and the model",
        405: "check the base URL",
        413: "the recording is too long for it",
        429: "wait a little, or check the quota of the API key",
    }.get(status, "check model, voice and language")


def explanation(body: str) -> str:
    """The sentence in OpenAI's {"error": {"message"}}, FastAPI's {"detail"}, a web page or plain text."""
    if body.startswith("<"):
        title = re.search(r"<title[^>]*>(.*?)</title", body, re.IGNORECASE | re.DOTALL)
        return f"a web page: {title[1].strip()}" if title else "a web page"
    try:
        found: object = json.loads(body)
    except ValueError:
        return body[:400]
    for name in ("error", "detail", "message", "msg"):
        if isinstance(found, dict):
            found = cast("dict[str, object]", found).get(name, cast("dict[str, object]", found))
    if isinstance(found, list):  # FastAPI: one entry for each field that is wrong, with `input`, which is left out
        entries = [cast("dict[str, object]", e) for e in cast("list[object]", found) if isinstance(e, dict)]
        return "; ".join(f"{_where(e.get('loc'))}: {e.get('msg')}" for e in entries)
    return found if isinstance(found, str) else ""


def _where(loc: object) -> str:
    return ".".join(str(part) for part in cast("list[object]", loc)) if isinstance(loc, list) else "?"


def _repeats(text: str, private: str) -> bool:
    """Whether text holds three words of private in a row, or all of it if it has fewer."""
    said, words = (re.findall(r"\w+", t.casefold()) for t in (text, private))
    n = min(3, len(words))
    runs = {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}
    return n > 0 and any(tuple(said[i : i + n]) in runs for i in range(len(said) - n + 1))
