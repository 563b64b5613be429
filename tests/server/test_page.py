"""The page's files and what their headers allow."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

import voiceloop.server.page as page
from voiceloop.server.page import page_routes

from .serving import BASE

FOLDER = Path(page.__file__).parent / "static"


def asking(*, framed_by: tuple[str, ...] = ()) -> httpx.AsyncClient:
    """A client of the page alone."""
    transport = httpx.ASGITransport(Starlette(routes=page_routes(framed_by=framed_by)))
    return httpx.AsyncClient(transport=transport, base_url=BASE)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/static/index.html", "text/html; charset=utf-8"),
        ("/static/voiceloop.js", "text/javascript; charset=utf-8"),
        ("/static/page.js", "text/javascript; charset=utf-8"),
        ("/static/page.css", "text/css; charset=utf-8"),
        ("/static/icon.svg", "image/svg+xml"),
        ("/static/protocol.md", "text/plain; charset=utf-8"),
    ],
)
async def test_a_file(path: str, kind: str) -> None:
    async with asking() as client:
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
        assert answer.content == (FOLDER / (path.rpartition("/")[2] or "index.html")).read_bytes()
        assert (await client.head(path)).headers["content-length"] == str(len(answer.content))
        tag = answer.headers["etag"]
        again = await client.get(path, headers={"if-none-match": f'"other", W/{tag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert (await client.get(path, headers={"if-none-match": '"other"'})).status_code == 200


@pytest.mark.parametrize("path", ["/static/nothing.js", "/static/../page.py", "/static/%2e%2e%2fpage.py", "/static/"])
async def test_nothing_else(path: str) -> None:
    async with asking() as client:
        assert (await client.get(path)).status_code == 404


async def test_what_a_page_may_do() -> None:
    async with asking() as client:
        headers = (await client.get("/")).headers
    policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert "microphone=(self)" in headers["permissions-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    async with asking(framed_by=("https://intranet.example",)) as client:
        policy = (await client.get("/")).headers["content-security-policy"]
    assert policy.endswith("frame-ancestors https://intranet.example")


def test_the_files_need_nobody_else_and_no_exception_to_the_rules() -> None:
    names = {path.name for path in FOLDER.iterdir()}
    for path in FOLDER.iterdir():
        text = path.read_text()
        hosts = set(re.findall(r"(?:https?:)?//([\w.-]+\.\w+)", text)) - {"your.server", "www.w3.org"}
        assert hosts == set(), path.name
        assert set(re.findall(r"/static/([\w.-]+)", text)) <= names
    html = (FOLDER / "index.html").read_text()
    assert not re.search(r"\sstyle=|\son\w+=|<style|<script(?![^>]*\ssrc=)", html)
