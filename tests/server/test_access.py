"""Who may come in."""

from pathlib import Path

import httpx
import pytest

from tests.server.serving import BASE, HELLO, Script, app_of, client, error_of
from voiceloop.errors import ConfigError
from voiceloop.sections import ServeSection
from voiceloop.server.access import doors, host_name, is_loopback
from voiceloop.server.keys import KeyFile
from voiceloop.server.orders import Sound

PAGE = "https://page.example"


async def ask(app, method: str = "GET", path: str = "/v1/models", **options) -> httpx.Response:
    async with client(app) as http:
        return await http.request(method, path, **options)


# --- names ---


async def test_every_answer_has_a_name(tmp_path: Path) -> None:
    app = app_of(Script(), tmp_path)
    first, second = await ask(app), await ask(app, path="/nothing")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    given = await ask(app, headers={"x-request-id": "mine-1"})
    assert given.headers["x-request-id"] == "mine-1"
    strange = await ask(app, headers={"x-request-id": "a b"})
    assert strange.headers["x-request-id"].startswith("req_")


async def test_what_is_not_there(tmp_path: Path) -> None:
    app = app_of(Script(), tmp_path)
    assert error_of(await ask(app, path="/v1/chat/completions")) == (404, None, "not_found")
    wrong = await ask(app, "GET", "/v1/audio/speech")
    assert error_of(wrong) == (405, None, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"


async def test_a_bug_is_an_answer_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    answer = await ask(app_of(Script(ZeroDivisionError("secret")), tmp_path), "POST", "/v1/audio/speech", json=HELLO)
    assert error_of(answer) == (500, None, "internal_error")
    assert "secret" not in answer.text
    assert "ZeroDivisionError" in caplog.text


# --- Host and Origin ---


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000"])
async def test_names_of_this_machine(tmp_path: Path, host: str) -> None:
    assert (await ask(app_of(Script(), tmp_path), headers={"host": host})).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.168.1.4:8000", "localhost.evil", ""])
@pytest.mark.parametrize("path", ["/v1/models", "/health", "/nothing"])
async def test_other_names_are_refused(tmp_path: Path, host: str, path: str) -> None:
    assert error_of(await ask(app_of(Script(), tmp_path), path=path, headers={"host": host}))[0] == 421


@pytest.mark.parametrize(
    ("hosts", "beyond", "host", "known"),
    [
        (["kiosk.local"], False, "Kiosk.local:8000", True),
        (["*"], False, "any.example", True),
        ([], True, "192.168.1.4:8000", True),
        ([], True, "[fe80::1]:8000", True),
        ([], True, "evil.example", False),
    ],
)
def test_hosts(hosts: list[str], beyond: bool, host: str, known: bool) -> None:
    assert doors(hosts, [], beyond=beyond).knows(host) is known


def test_host_names() -> None:
    assert [host_name(h) for h in ("A.b:80", "[::1]:80", "[::1]", "a.", "")] == ["a.b", "::1", "::1", "a", ""]
    assert [is_loopback(h) for h in ("localhost", "127.0.0.2", "::1", "0.0.0.0", "kiosk")] == [True] * 3 + [False] * 2


@pytest.mark.parametrize("origin", [PAGE, "null", "http://127.0.0.1:9000", "https://127.0.0.1:8000"])
async def test_pages_from_elsewhere_may_not_post(tmp_path: Path, origin: str) -> None:
    work = Script(Sound(b"x"))
    app = app_of(work, tmp_path)
    answer = await ask(app, "POST", "/v1/audio/speech", json=HELLO, headers={"origin": origin})
    assert error_of(answer) == (403, None, "origin")
    assert not work.orders
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("headers", [{}, {"origin": BASE}])
async def test_our_own_page_and_programs_may(tmp_path: Path, headers: dict[str, str]) -> None:
    app = app_of(Script(Sound(b"x")), tmp_path)
    assert (await ask(app, "POST", "/v1/audio/speech", json=HELLO, headers=headers)).status_code == 200


async def test_cors_for_listed_pages_only(tmp_path: Path) -> None:
    app = app_of(Script(Sound(b"x")), tmp_path, settings=ServeSection(origins=[PAGE + "/"]))
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,x-stainless-os"}
    before = await ask(app, "OPTIONS", "/v1/audio/speech", headers={"origin": PAGE, **asked})
    assert before.status_code == 204
    assert before.headers["access-control-allow-origin"] == PAGE
    assert before.headers["access-control-allow-headers"] == "authorization,x-stainless-os"
    answer = await ask(app, "POST", "/v1/audio/speech", json=HELLO, headers={"origin": PAGE})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, PAGE)
    wrong = await ask(app, "POST", "/v1/audio/speech", content=b"{", headers={"origin": PAGE})
    assert wrong.headers["access-control-allow-origin"] == PAGE  # so that the page can read what is wrong
    other = await ask(app, "OPTIONS", "/v1/audio/speech", headers={"origin": "https://other.example", **asked})
    assert other.status_code == 403


async def test_any_page(tmp_path: Path) -> None:
    app = app_of(Script(Sound(b"x")), tmp_path, settings=ServeSection(origins=["*"]))
    assert (await ask(app, "POST", "/v1/audio/speech", json=HELLO, headers={"origin": PAGE})).status_code == 200


async def closed(app, **headers: str) -> list[dict[str, object]]:
    """What a socket is answered."""
    sent: list[dict[str, object]] = []

    async def send(message) -> None:
        sent.append(message)

    async def receive():
        return {"type": "websocket.connect"}

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await app({"type": "websocket", "path": "/ws", "scheme": "ws", "headers": pairs}, receive, send)
    return sent


async def test_sockets_follow_the_same_rules(tmp_path: Path) -> None:
    app = app_of(Script(), tmp_path)
    refused = [{"type": "websocket.close", "code": 1008, "reason": ""}]
    assert await closed(app, host="evil.example") == refused
    assert await closed(app, host="localhost", origin="http://evil.example") == refused
    assert await closed(app, host="localhost", origin="http://localhost") == refused  # there is none yet


# --- keys ---


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "inner" / "keys")


async def test_a_key_opens(tmp_path: Path, keys: KeyFile) -> None:
    ann, ben = keys.add("ann"), keys.add("ben")
    app = app_of(Script(), tmp_path, keys=KeyFile(keys.path))
    for key in (ann, ben):
        assert (await ask(app, headers={"authorization": f"bearer {key}"})).status_code == 200
    for header in ({}, {"authorization": "Basic x"}, {"authorization": "Bearer "}):
        refused = await ask(app, headers=header)
        assert error_of(refused) == (401, None, "missing_api_key")
        assert refused.headers["www-authenticate"] == "Bearer"
    assert error_of(await ask(app, headers={"authorization": "Bearer wrong"})) == (401, None, "invalid_api_key")
    assert (await ask(app, path="/health")).status_code == 200


async def test_a_removed_key_opens_nothing(tmp_path: Path, keys: KeyFile) -> None:
    key = keys.add("ann")
    app = app_of(Script(), tmp_path, keys=KeyFile(keys.path), key_needed=True)
    keys.remove("ann")
    assert error_of(await ask(app, headers={"authorization": f"Bearer {key}"})) == (401, None, "invalid_api_key")


def test_only_hashes_are_kept(keys: KeyFile) -> None:
    key = keys.add("ann")
    assert len(key) >= 46
    text = keys.path.read_text()
    assert key not in text
    assert text.startswith("ann sha256:")
    assert keys.path.stat().st_mode & 0o077 == 0
    assert keys.named(key) == "ann"
    assert keys.named("\udcff") is None


def test_names_of_keys(keys: KeyFile) -> None:
    keys.add("ann")
    with pytest.raises(ConfigError, match="already"):
        keys.add("ann")
    with pytest.raises(ConfigError, match="64 letters"):
        keys.add("two words")
    with pytest.raises(ConfigError, match="no key named ben"):
        keys.remove("ben")


def test_a_key_file_with_rubbish(keys: KeyFile) -> None:
    keys.add("ann")
    keys.path.write_text("# mine\n\nann secret\n")
    with pytest.raises(ConfigError, match="line 3"):
        keys.read()
    keys.path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="cannot be read"):
        keys.read()


def test_keys_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "keys.new").mkdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        KeyFile(tmp_path / "keys").add("ann")
