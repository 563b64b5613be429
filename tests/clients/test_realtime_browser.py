"""@openai/agents-realtime, unmodified, in Chromium: a page of another origin, with a key that its own server fetched.

A spoken turn and a barge-in (the SDK truncates by itself) from a fake microphone, and a function call.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from tests.e2e.test_talk import said_in
from tests.program import misheard, recording
from voiceloop.core.audio import RATE, silence

from .chromium import CHROMIUM, launched
from .house.storyteller import STORY
from .serving import HERE, Server, node, serving
from .test_browser import TAP, VOICE, heard_in
from .webserver import served

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")]

FORWARD, CLUBS = "go forward ten meters", "ten of clubs"
WAIT_S = 60.0


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The page's script with all that it imports."""
    made = tmp_path_factory.mktemp("bundle") / "page.js"
    source = node() / "realtime_browser.js"  # next to the packages, where imports are looked for
    shutil.copy(HERE / "foreign" / "realtime_browser.js", source)
    command = [node() / "node_modules" / ".bin" / "esbuild", source, "--bundle", f"--outfile={made}"]
    done = subprocess.run([*map(str, command), "--log-level=warning"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return made.read_bytes()


@pytest.fixture(scope="module")
def origin(bundle: bytes) -> Iterator[str]:
    """A page of somebody else."""
    page = HTMLResponse("<!doctype html><meta charset=utf-8><script src=/page.js></script>")
    script = Response(bundle, media_type="text/javascript")
    with served(Starlette(routes=[Route("/", page), Route("/page.js", script)])) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def talker(origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that talks, also to that page."""
    settings = f'origins = ["{origin}"]\n[handler]\nname = "storyteller:answer"\n'
    with serving(tmp_path_factory.mktemp("talker"), settings, talk=True) as running:
        yield running


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Its microphone: a command, and another one 5 s later, over the story."""
    path = tmp_path_factory.mktemp("microphone") / "people.wav"
    parts = [silence(RATE), recording("ps_goforward.flac"), silence(5 * RATE), recording("ps_card001.flac")]
    soundfile.write(path, np.concatenate([*parts, silence(60 * RATE)]), RATE)
    with playwright.sync_playwright() as driver:
        browser = launched(driver, path, granted=True)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, origin: str) -> Iterator[Any]:
    """That page, and nothing that it complained of."""
    wrong: list[str] = []
    context = browser.new_context(permissions=["microphone"])
    context.add_init_script(TAP)
    page = context.new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(origin)
    yield page
    context.close()
    assert wrong == []


def ephemeral(server: Server) -> str:
    """A key that a page may be given."""
    request = urllib.request.Request(
        f"{server.base_url}/realtime/client_secrets",
        json.dumps({"session": {"type": "realtime", "model": "gpt-realtime"}}).encode(),
        {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        value = json.load(answer)["value"]
    assert value.startswith("ek_")
    return str(value)


def talk(page: Any, server: Server, *, tools: bool = False) -> None:
    """Connects, and speaks."""
    url = server.base_url.replace("http", "ws", 1) + "/realtime?model=gpt-realtime"
    page.evaluate("(how) => talk(how)", {"url": url, "key": ephemeral(server), "tools": tools})


def until(page: Any, ready: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """What the page has seen, once it has seen that."""
    deadline = time.monotonic() + WAIT_S
    while not ready(seen := page.evaluate("window.seen")):
        assert time.monotonic() < deadline, seen
        page.wait_for_timeout(50)
    return seen


def test_a_spoken_turn_and_a_barge_in(page: Any, talker: Server, tmp_path: Path) -> None:
    talk(page, talker)
    seen = until(page, lambda seen: len(seen["done"]) == 2 and seen["types"].get("conversation.item.retrieved"))
    page.wait_for_timeout(4000)  # the answer is heard to its end
    (user, story, more, answer) = page.evaluate("history_of()")
    assert misheard(FORWARD, user[3]) <= 0.25
    assert misheard(CLUBS, more[3]) <= 0.34
    assert (seen["cut"], seen["types"]["conversation.item.truncated"], seen["errors"]) == (1, 1, [])
    assert story[2] == "incomplete"
    assert 20 < len(story[3]) < len(STORY)
    assert STORY.startswith(story[3])
    path = tmp_path / "loudspeaker.wav"
    soundfile.write(path, heard_in(page), VOICE)
    assert misheard(f"{story[3]} {answer[3]}", said_in(path)) <= 0.3, said_in(path)


def test_a_function_call(page: Any, talker: Server) -> None:
    talk(page, talker, tools=True)
    seen = until(page, lambda seen: len(seen["done"]) == 2)
    assert (seen["call"], seen["done"], seen["errors"]) == ("Rome", ["completed", "completed"], [])
    assert page.evaluate("history_of()")[-1][3] == "The weather is sunny."
    assert seen["audio"] > 0


def test_a_key_of_nobody(page: Any, talker: Server) -> None:
    """The socket opens, so that it can be told why it closes; that is all that it hears."""
    closed: list[Any] = []
    page.on("websocket", lambda socket: socket.on("close", lambda _: closed.append(True)))
    url = talker.base_url.replace("http", "ws", 1) + "/realtime?model=gpt-realtime"
    page.evaluate("(how) => talk(how).catch(String)", {"url": url, "key": "ek_none", "tools": True})
    until(page, lambda seen: closed)
    assert page.evaluate("window.seen.types") == {}
