"""The assistant as a plain program uses it: from other threads, with fakes for engines and devices."""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.program import DATA, distribution, python
from voiceloop import Assistant
from voiceloop.config import Config, override
from voiceloop.core import events as ev
from voiceloop.errors import ConfigError, DeviceError
from voiceloop.ports import AudioPort
from voiceloop.session.observe import Ready, Volume
from voiceloop.testing import FakePort, script

ENGINES = """
import asyncio
from voiceloop.testing import FakeSynthesizer, FakeTranscriber, FakeVad

class Loading(FakeTranscriber):
    async def warm_up(self):
        await asyncio.Event().wait()

def vad(config): return FakeVad()
def stt(tools): return FakeTranscriber(["hello"], delay_s=0.01)
def tts(tools): return FakeSynthesizer(delay_s=0.01, letter_s=0.02)
def loading(tools): return Loading()
"""

PATIENCE_S = 20.0
"""Nothing here takes a second; a test that waits so long has failed."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A distribution whose plug-ins are fake engines named `fake`, and one that never gets ready."""
    lines = [f"[voiceloop.{port}]\nfake = assistant_fakes:{port}\n" for port in ("vad", "stt", "tts")]
    lines.insert(2, "loading = assistant_fakes:loading\n")
    return distribution(tmp_path_factory.mktemp("fakes") / "site", "assistant_fakes", ENGINES, "".join(lines))


@pytest.fixture
def config(site: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.syspath_prepend(site)
    return override(Config(), {"vad.engine": "fake", "stt.engine": "fake", "tts.engine": "fake"})


Make = Callable[..., tuple[Assistant, "queue.Queue[object]"]]


@pytest.fixture
def make(config: Config) -> Iterator[Make]:
    """Makes assistants, and a queue of all that each of them tells."""
    made: list[Assistant] = []

    def make(
        port: AudioPort | None = None,
        handler: object = lambda text: f"You said {text}.",
        events: tuple[str, ...] = ("ready", "heard", "reply_started", "reply_ended", "state_changed"),
        **changes: object,
    ) -> tuple[Assistant, queue.Queue[object]]:
        found = override(config, {key.replace("__", "."): value for key, value in changes.items()})
        assistant = Assistant(found, handler, port=port or FakePort(script(), ends=False))
        told: queue.Queue[object] = queue.Queue()
        for event in events:
            assistant.on(event, told.put)
        made.append(assistant)
        return assistant, told

    yield make
    for assistant in made:
        assistant.stop()
    assert not [thread.name for thread in threading.enumerate() if thread.name == "voiceloop"]


def until(told: queue.Queue[object], kind: type, **fields: object) -> object:
    """The next event of a kind with these fields."""
    while True:
        event = told.get(timeout=PATIENCE_S)
        if isinstance(event, kind) and all(getattr(event, name) == value for name, value in fields.items()):
            return event


# --- the program of the README ---


def test_a_script_of_ten_lines(tmp_path: Path) -> None:
    pytest.importorskip("moonshine_voice")
    done = python(
        f"""
from voiceloop import Assistant
from voiceloop.build import file_port

def answer(text):
    return f"You said: {{text}}"

port = file_port([{str(DATA / "ps_goforward.flac")!r}], "out.wav", paced=False)
with Assistant(handler=answer, port=port) as assistant:
    assistant.on("heard", lambda event: print("you:", event.text))
    assistant.on("reply_ended", lambda event: print("it:", event.heard))
    assistant.wait()
""",
        home=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "you: Go forward ten meters.\nit: You said: Go forward ten meters.\n"
    assert (tmp_path / "out.wav").stat().st_size > 48_000


# --- a conversation ---


def test_a_question_gets_an_answer(make: Make) -> None:
    port = FakePort(script(-0.1, 0.5, -0.2), stepped=True)
    assistant, told = make(port)
    assistant.start()
    assert until(told, ev.Heard).text == "hello"  # type: ignore[attr-defined]
    assert until(told, ev.ReplyEnded).heard == "You said hello."  # type: ignore[attr-defined]
    assert assistant.wait(PATIENCE_S)
    assistant.stop()
    assert (port.opened, port.closed > 0) == (1, True)


def test_say_and_interrupt(make: Make) -> None:
    assistant, told = make()
    assistant.start()
    assistant.say("One two three four five six seven eight nine ten, and so on for a long time.")
    until(told, ev.StateChanged, state="speaking")
    assistant.interrupt()
    ended = until(told, ev.ReplyEnded)
    assert ended.ending == "interrupted"  # type: ignore[attr-defined]
    assistant.say("Short.")
    assert until(told, ev.ReplyEnded).heard == "Short."  # type: ignore[attr-defined]


def test_respond(make: Make) -> None:
    assistant, told = make()
    assistant.start()
    assistant.respond("typed words")
    assert until(told, ev.ReplyEnded).said == "You said typed words."  # type: ignore[attr-defined]


def test_mute(make: Make) -> None:
    assistant, told = make(FakePort(script(-0.5, 0.5, -1.0), stepped=True), events=("heard", "ready"))
    assistant.on("ready", lambda event: assistant.mute())
    assistant.start()
    assert assistant.wait(PATIENCE_S)
    assert isinstance(told.get_nowait(), Ready)
    assert told.empty()


def test_mute_off(make: Make) -> None:
    assistant, told = make(FakePort(script(-0.5, 0.5, -1.0), stepped=True), events=("heard",))
    assistant.on("ready", lambda event: (assistant.mute(), assistant.mute(False)))
    assistant.start()
    assert assistant.wait(PATIENCE_S)
    assert told.get_nowait().text == "hello"  # type: ignore[attr-defined]


def test_a_button_to_talk(make: Make) -> None:
    port = FakePort(script(-0.1, 60.0), ends=False)
    assistant, told = make(port, turn__mode="push_to_talk")
    assistant.start()
    until(told, Ready)
    assistant.push_to_talk(True)
    until(told, ev.StateChanged, state="hearing")
    threading.Event().wait(0.5)
    assistant.push_to_talk(False)
    assert until(told, ev.Heard).text == "hello"  # type: ignore[attr-defined]


def test_the_volume_may_be_changed_at_any_time(make: Make) -> None:
    port = FakePort(script(), ends=False)
    assistant, told = make(port, events=("ready", "volume"), audio__volume=0.5)
    assert assistant.volume == 0.5
    assistant.volume = 0.4
    assistant.start()
    until(told, Ready)
    assistant.volume = 0.3
    assert until(told, Volume).volume == 0.3  # type: ignore[attr-defined]
    assert port.gains == [0.4, 0.3]
    with pytest.raises(ConfigError, match="volume"):
        assistant.volume = 1.5
    assert assistant.volume == 0.3


def test_what_is_said_to_it_before_and_after_is_ignored(make: Make) -> None:
    assistant, told = make()
    assistant.say("too early")
    assistant.interrupt()
    assistant.start()
    until(told, Ready)
    assistant.stop()
    assistant.say("too late")
    assistant.respond("too late")
    assistant.mute()
    assert told.empty()


# --- events ---


def test_an_unknown_event_lists_the_known(make: Make) -> None:
    assistant, _ = make()
    with pytest.raises(
        ValueError,
        match=r"no event 'herd'; known: .*heard, latency, level, muted, notice, pressed, ready, reopened, reply_ended",
    ):
        assistant.on("herd", print)


def test_a_callback_that_raises_harms_nobody(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    assistant, told = make(FakePort(script(-0.1, 0.5, -0.2), stepped=True), events=())

    def bad(event: object) -> None:
        raise RuntimeError("secret words")

    assistant.on("heard", bad)
    assistant.on("heard", told.put)
    assistant.on("reply_ended", told.put)
    with caplog.at_level(logging.ERROR):
        assistant.start()
        assert assistant.wait(PATIENCE_S)
    assert [type(told.get_nowait()) for _ in range(2)] == [ev.Heard, ev.ReplyEnded]
    assert "an observer failed with RuntimeError on Heard" in caplog.text
    assert "secret words" not in caplog.text


def test_a_callback_added_while_it_runs(make: Make) -> None:
    assistant, _ = make(events=())
    assistant.start()
    told: queue.Queue[object] = queue.Queue()
    assistant.on("reply_ended", told.put)
    assistant.say("Hello.")
    assert until(told, ev.ReplyEnded).heard == "Hello."  # type: ignore[attr-defined]


def test_many_threads_at_once(make: Make) -> None:
    texts = {f"{thread} {n}" for thread in range(6) for n in range(5)}
    asked: list[str] = []
    assistant, told = make(handler=lambda text: asked.append(text) or "Yes.")
    assistant.start()

    def work(thread: int) -> None:
        for n in range(5):
            assistant.respond(f"{thread} {n}")
            assistant.mute(n % 2 == 0)
            if n == 2:
                assistant.interrupt()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assistant.respond("last")
    heard: list[str] = []
    while "last" not in heard:
        heard.append(until(told, ev.Heard).text)  # type: ignore[attr-defined]
    assert sorted(heard) == sorted(texts | {"last"})
    for thread in range(6):
        assert [text for text in heard if text.startswith(f"{thread} ")] == [f"{thread} {n}" for n in range(5)]


# --- beginning and end ---


def test_start_fails_in_the_caller(make: Make) -> None:
    class Missing(FakePort):
        async def open(self) -> None:
            raise DeviceError("There is no microphone.")

    assistant, _ = make(Missing(script()))
    with pytest.raises(DeviceError, match=r"There is no microphone\."):
        assistant.start()
    assistant.stop()
    with pytest.raises(DeviceError):
        assistant.wait()


def test_a_wrong_engine_fails_in_the_caller(make: Make) -> None:
    assistant, _ = make(stt__engine="nonsense")
    with pytest.raises(ConfigError, match="there is no engine named 'nonsense'"), assistant:
        pytest.fail("it started")


def test_a_device_that_is_lost(make: Make) -> None:
    assistant, told = make(FakePort(script(), ends=False, lost_after=5))
    assistant.start()
    until(told, Ready)
    with pytest.raises(DeviceError, match="was lost"):
        assistant.wait(PATIENCE_S)
    assistant.stop()


def test_it_starts_once(make: Make) -> None:
    assistant, _ = make()
    assistant.start()
    with pytest.raises(RuntimeError, match="starts once"):
        assistant.start()


def test_stop_is_idempotent_and_may_come_first(make: Make) -> None:
    port = FakePort(script(), ends=False)
    assistant, told = make(port)
    assistant.stop()
    assistant.start()
    assistant.stop()
    assistant.stop()
    assert assistant.wait()
    assert port.opened == 0
    assert told.empty()


def test_stop_from_a_callback(make: Make) -> None:
    assistant, _ = make(FakePort(script(-0.1, 0.5), ends=False, stepped=True))
    assistant.on("heard", lambda event: assistant.stop())
    assistant.start()
    assert assistant.wait(PATIENCE_S)


def test_stop_while_it_speaks_says_what_was_heard(make: Make) -> None:
    assistant, told = make()
    assistant.start()
    assistant.say("One two three four five six seven eight nine ten, and so on for a long time.")
    until(told, ev.StateChanged, state="speaking")
    assistant.stop()
    assert until(told, ev.ReplyEnded).ending == "interrupted"  # type: ignore[attr-defined]


def test_stop_while_an_engine_loads(make: Make) -> None:
    port = FakePort(script(), ends=False)
    assistant, told = make(port, stt__engine="loading")
    starting = threading.Thread(target=assistant.start)
    starting.start()
    assert not assistant.wait(0.05)
    assistant.stop()
    starting.join(PATIENCE_S)
    assert not starting.is_alive()
    assert port.opened == 0
    assert told.empty()


def test_stop_waits_also_after_ctrl_c(make: Make) -> None:
    """Python 3.11 takes a thread for ended whose join was interrupted, and the process left with open devices."""
    port = FakePort(script(), ends=False)
    assistant, _ = make(port)
    assistant.start()
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        assistant.wait(PATIENCE_S)
    assert port.closed == 0
    assistant.stop()
    assert port.closed == 1


def test_wait_without_start(make: Make) -> None:
    assistant, _ = make()
    assert assistant.wait()
    assistant.start()
    assert not assistant.wait(0.01)


def test_a_handler_that_blocks_does_not_keep_it(make: Make) -> None:
    going = threading.Event()
    asked = threading.Event()

    def stuck(text: str) -> str:
        asked.set()
        going.wait(PATIENCE_S)
        return "late"

    assistant, _ = make(handler=stuck)
    assistant.start()
    assistant.respond("hello")
    assert asked.wait(PATIENCE_S)
    assistant.stop()
    assert assistant.wait()
    going.set()
