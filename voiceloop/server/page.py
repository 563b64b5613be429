"""The page: the files under static/, as they are, with headers that let them do no more than they need."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "md": "text/plain; charset=utf-8",  # which browsers show, and do not store
}

_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",  # the socket too: 'self' means ws and wss of the same host
    "media-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
}

_HEADERS = {
    "permissions-policy": "microphone=(self), speaker-selection=(self), screen-wake-lock=(self), camera=(), "
    "geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",  # asked for each time, and mostly answered with 304: a new version shows at once
}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    kind: str
    etag: str


def page_routes(*, framed_by: Sequence[str] = ()) -> list[Route]:
    """`/`, `/protocol` and `/static/...`. framed_by: origins whose pages may show it in a frame; none else may."""
    kept = _read()
    frames = " ".join(framed_by) or "'none'"
    policy = "; ".join(f"{name} {value}" for name, value in {**_POLICY, "frame-ancestors": frames}.items())
    headers = {**_HEADERS, "content-security-policy": policy}

    async def page(request: Request) -> Response:
        return _answer(request, kept["index.html"], headers)

    async def static(request: Request) -> Response:
        found = kept.get(request.path_params["name"])
        if found is None:
            return Response("There is no such file.\n", 404, headers, "text/plain")
        return _answer(request, found, headers)

    async def protocol(request: Request) -> Response:
        return _answer(request, kept["protocol.md"], headers)

    return [Route("/", page), Route("/protocol", protocol), Route("/static/{name}", static)]


def _read() -> dict[str, _File]:
    """All of them: a few dozen kB, read once, so that no request waits for a disk."""
    found: dict[str, _File] = {}
    for path in files("voiceloop.server").joinpath("static").iterdir():
        kind = _TYPES.get(path.name.rpartition(".")[2])
        if kind:
            body = path.read_bytes()
            found[path.name] = _File(body, kind, f'"{hashlib.sha256(body).hexdigest()[:20]}"')
    return found


def _answer(request: Request, file: _File, headers: Mapping[str, str]) -> Response:
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if file.etag in known:
        return Response(status_code=304, headers={**headers, "etag": file.etag})
    return Response(file.body, headers={**headers, "etag": file.etag, "content-type": file.kind})
