"""The page in a real browser: with a puppet for a server, and with the real one and a recording for a microphone."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile

from tests.e2e.test_talk import STORY, SUNDAY, said_in, storyteller
from tests.program import ROOT, environment, misheard, recording
from voiceloop.core.audio import RATE, Pcm

from .chromium import CHROMIUM, launched, people
from .webserver import TOKEN, Cable, Puppet, served

playwright = pytest.importorskip("playwright.sync_api")

# Mostly it waits, as what talks through the sound server does: it runs beside the rest.
pytestmark = [pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")]

WAIT_S = 30.0
VOICE = 24_000

TAP = """
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (to, ...rest) {
  if (to instanceof AudioDestinationNode) {
    const tap = this.context.createScriptProcessor(2048, 1, 1);
    window.played = [];
    tap.onaudioprocess = ({ inputBuffer }) => window.played.push(...inputBuffer.getChannelData(0));
    connect.call(this, tap);
    connect.call(tap, to);
  }
  return connect.call(this, to, ...rest);
};
"""
"""Keeps what goes to the loudspeaker."""

KEPT = """() => {
  const bytes = new Uint8Array(Float32Array.from(window.played).buffer);
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}"""

LOGIC = "async (argument) => { const m = await import('/static/voiceloop.js'); return (%s)(m, argument); }"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Debian's."""
    with playwright.sync_playwright() as driver:
        browser = launched(driver, people(tmp_path_factory.mktemp("microphone")))
        yield browser
        browser.close()


@pytest.fixture
def puppet() -> Puppet:
    """A server that does as it is told."""
    return Puppet()


@pytest.fixture
def cable(puppet: Puppet) -> Iterator[Cable]:
    """The way to it."""
    with served(puppet.app) as port:
        cable = Cable(port)
        yield cable
        cable.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page, with the microphone allowed or not. That it broke no rule of its own is looked at afterwards."""
    contexts: list[Any] = []
    wrong: list[str] = []

    def open_page(port: int, *, script: str = "", allowed: bool = True, path: str = "", **options: Any) -> Any:
        context = browser.new_context(permissions=["microphone"] if allowed else [], **options)
        context.set_default_timeout(WAIT_S * 1000)
        contexts.append(context)
        context.add_init_script(script)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if "Security Policy" in said.text else None)
        page.goto(f"http://127.0.0.1:{port}/{path}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def shows(page: Any, view: str) -> None:
    """Waits until the page shows that state."""
    page.wait_for_selector(f"body[data-view={view}]")


def until(page: Any, ready: Callable[[], Any]) -> Any:
    """Waits until something is so, and returns it."""
    deadline = time.monotonic() + WAIT_S
    while not (found := ready()):
        assert time.monotonic() < deadline
        page.wait_for_timeout(50)
    return found


def heard_in(page: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What went to the loudspeaker, from its first sound on."""
    played = np.frombuffer(base64.b64decode(page.evaluate(KEPT)), np.float32)
    return played[np.flatnonzero(played)[0] :] if played.any() else played[:0]


def rising(n: int) -> Pcm:
    """A tone that rises, so that each moment is like no other."""
    t = np.arange(n) / VOICE
    return np.round(8000 * np.sin(2 * np.pi * (200 * t + 400 * t * t))).astype(np.int16)


def send(puppet: Puppet, reply: int, pcm: Pcm, start: int = 0) -> None:
    """A reply from sample `start` on, as the server sends it."""
    puppet.say({"type": "audio", "reply": reply, "from": start})
    for at in range(start, pcm.size, 960):
        puppet.say(pcm[at : at + 960])


def likeness(heard: np.ndarray[Any, Any], pcm: Pcm) -> float:
    """Of both from their beginning on, one of them 2 ms earlier or later: their first samples are too soft to see."""
    n = min(heard.size, pcm.size) - 100
    found = [np.corrcoef(heard[50 + lag : n + lag], pcm[50:n])[0, 1] for lag in range(-48, 49)]
    return float(max(found))


def last_played(puppet: Puppet) -> dict[str, Any]:
    """The last report of the page."""
    return [{"samples": 0}, *puppet.told("played")][-1]


# --- its logic, without any device


def test_the_jitter_buffer(cable: Cable, opened: Callable[..., Any]) -> None:
    found = opened(cable.port).evaluate(
        LOGIC
        % """(m) => {
      const player = new m.Player(1000, { first_s: 0.08, least_s: 0.06, most_s: 0.3, calm_s: 1 });
      const ones = (n) => new Float32Array(n).fill(1);
      const pull = (n) => {
        const out = new Float32Array(n);
        const ran = player.pull(out);
        return [[...out].filter((x) => x > 0.5).length, ran];
      };
      const seen = {};
      player.push(1, 0, ones(40));
      seen.early = pull(10);
      player.push(1, 40, ones(40));
      seen.begins = pull(10);
      player.push(1, 60, ones(40));                       // 20 of these it has
      seen.rest = pull(200);
      seen.played = player.played.get(1);
      seen.before = [player.underruns, player.target];
      player.push(1, 100, ones(200));                     // more of the same: it ran dry too early
      seen.after = [player.underruns, player.target];
      pull(50);
      seen.flushed = player.flush();
      seen.silent = pull(100);
      player.push(1, 150, ones(50));                      // it goes on after a hold
      player.end(1);
      seen.short = pull(100);
      player.push(2, 0, ones(40));
      player.flush({ drop: true });
      player.push(2, 0, ones(400));
      seen.dropped = [pull(100), player.waiting];
      for (let i = 0; i < 80; i++) { player.push(3, 100 * i, ones(100)); pull(100); }
      seen.calm = player.target;
      seen.replies = [...player.played];
      return seen;
    }"""
    )
    assert found["early"] == [0, None]
    assert found["begins"] == [10, None]
    assert found["rest"][1] == 1
    assert found["rest"][0] == 87  # the last 4 samples are faded
    assert found["played"] == 100
    assert found["before"] == [0, 80]
    assert found["after"] == [1, 120]
    assert found["flushed"] == [[1, 150]]
    assert found["silent"][0] <= 2  # the fade, which is not counted
    assert found["short"][1] == 1
    assert found["dropped"] == [[0, None], 0]
    assert found["calm"] == pytest.approx(60)
    assert found["replies"] == [[1, 200], [2, 0], [3, 7900]]


def test_what_the_microphone_heard_is_kept(cable: Cable, opened: Callable[..., Any]) -> None:
    found = opened(cable.port).evaluate(
        LOGIC
        % """(m) => {
      const mic = new m.MicBuffer(100, 1);
      let at = 0;
      const hear = (n) => mic.push(Int16Array.from({ length: n }, () => at++));
      const take = (n) => { const got = mic.take(n); return got && [got[0], got.length]; };
      const seen = [];
      hear(60); seen.push(take(50), take(50), take(50));
      mic.ack(40); mic.rewind(40); seen.push(take(100));    // 40 arrived, the rest is sent again
      hear(100); mic.rewind(60); seen.push(take(1000));     // an outage that fits
      hear(250); seen.push([mic.lost, mic.position], take(1000));  // one that does not: the oldest are gone for good
      mic.rewind(210); seen.push(take(1000));               // and the server's count goes on without them
      hear(50); mic.shorten(10); seen.push([mic.lost, mic.position], take(1000));
      return seen;
    }"""
    )
    assert found == [
        [0, 50], [50, 10], None,
        [40, 20],
        [60, 100],
        [150, 260], [310, 100],
        [360, 50],
        [190, 270], [450, 10],
    ]  # fmt: skip


def test_sample_rates_and_echoes_and_words(cable: Cable, opened: Callable[..., Any]) -> None:
    page = opened(cable.port)
    tones = page.evaluate(
        LOGIC
        % """(m) => [[24000, 1000], [48000, 1000], [44100, 3000], [48000, 11000]].map(([from, hz]) => {
      const framer = new m.Framer(from);
      const frames = [];
      for (let at = 0; at < from; at += 128) {
        const sample = (_, i) => 0.5 * Math.sin((2 * Math.PI * hz * (at + i)) / from);
        frames.push(...framer.process(Float32Array.from({ length: 128 }, sample)));
      }
      const all = frames.slice(5).flatMap((frame) => [...frame]);
      return [frames.length, Math.sqrt(all.reduce((s, x) => s + x * x, 0) / all.length) * Math.SQRT2 / 16384];
    })"""
    )
    assert [n for n, _ in tones] == [50, 50, 50, 50]
    assert [level for _, level in tones[:3]] == pytest.approx([1, 1, 1], abs=0.01)
    assert tones[3][1] < 0.01  # what 16 kHz cannot hold does not come back as something else
    noise = np.random.default_rng(1)
    voice = np.repeat(noise.uniform(-60, -15, 40), 5)[:165].tolist()
    other = np.repeat(noise.uniform(-60, -15, 40), 5)[:165].tolist()
    echo = [-70.0] * 6 + [level - 12 for level in voice[:-6]]
    likeness = (
        LOGIC
        % """(m, [mic, voice]) => {
      const watch = new m.EchoWatch();
      return mic.map((level, i) => watch.feed(level, voice[i])).at(-1);
    }"""
    )
    assert page.evaluate(likeness, [echo, voice]) > 0.9
    assert page.evaluate(likeness, [other, voice]) < 0.6
    assert page.evaluate(likeness, [[-70.0] * 165, voice]) == 0
    begun = "(m, n) => m.begun([['one', 100], ['two', 250]], n)"
    assert [page.evaluate(LOGIC % begun, n) for n in (0, 50, 100, 101, 900)] == [0, 1, 1, 2, 2]
    waits = page.evaluate(LOGIC % "(m) => [0, 1, 2, 3, 9].map((n) => m.backoff(n, 0.5))")
    assert waits == [0.25, 0.5, 1, 2, 5]


# --- with a puppet for a server


def test_a_cut_line_loses_nothing_and_repeats_nothing(puppet: Puppet, cable: Cable, opened: Callable[..., Any]) -> None:
    page = opened(cable.port, script=TAP)
    page.click("#orb")
    shows(page, "listening")
    reply = rising(2 * VOICE)
    send(puppet, 1, reply[: VOICE // 2])
    until(page, lambda: puppet.mic.size > RATE and last_played(puppet)["samples"] == VOICE // 2)
    cable.cut()
    shows(page, "lost")
    before = puppet.mic.size
    page.wait_for_timeout(1500)
    puppet.mic_lost = RATE // 4  # what was on its way when it was cut
    cable.mend()
    shows(page, "listening")
    resume = puppet.told("resume")[-1]
    assert resume["token"] == TOKEN
    assert resume["played"] == {"1": VOICE // 2}
    assert resume["mic"] > before + RATE
    send(puppet, 1, reply, VOICE // 2 - 4800)  # a server that is not sure says the last words again
    until(page, lambda: last_played(puppet)["samples"] == reply.size)
    page.click("#end")
    until(page, lambda: puppet.told("end"))
    heard = heard_in(page)
    silent = np.flatnonzero(np.abs(heard) > 1e-3)
    gap = int(np.argmax(np.diff(silent)))
    first, second = heard[: silent[gap] + 1], heard[silent[gap + 1] : silent[-1] + 1]
    assert first.size + second.size == pytest.approx(reply.size, abs=VOICE // 100)
    assert likeness(first, reply[: VOICE // 2]) > 0.98
    assert likeness(second, reply[VOICE // 2 :]) > 0.98
    assert puppet.mic.size >= resume["mic"]
    voiced = np.abs(puppet.mic[RATE // 2 :].astype(float)) > 300
    assert voiced.any()


def test_interrupting_and_what_was_heard(puppet: Puppet, cable: Cable, opened: Callable[..., Any]) -> None:
    page = opened(cable.port, script=TAP)
    page.click("#orb")
    shows(page, "listening")
    puppet.say({"type": "transcript", "role": "user", "text": "Count for me.", "final": True, "turn": 1})
    puppet.say({"type": "state", "state": "speaking"})
    puppet.say({"type": "transcript", "role": "assistant", "text": "One two three four.", "final": False, "reply": 1})
    words = [["One", 12000], *(["two", 24000] for _ in range(200)), ["three", 96000], ["four.", 120000]]
    puppet.say({"type": "caption", "reply": 1, "words": words})
    shows(page, "speaking")
    pcm = rising(3 * VOICE)
    send(puppet, 1, pcm)
    until(page, lambda: page.inner_text("#answer .now") == "three")
    assert page.inner_text("#answer .to-come") == "four."
    until(page, lambda: page.evaluate(IN_SIGHT))
    page.keyboard.press("Escape")
    until(page, lambda: puppet.told("interrupt"))
    page.wait_for_timeout(300)  # the sound thread says where it stopped
    stopped = last_played(puppet)["samples"]
    assert VOICE < stopped < pcm.size
    send(puppet, 1, pcm, stopped)  # what was on its way is not played any more
    page.wait_for_timeout(300)
    assert last_played(puppet)["samples"] == stopped
    assert heard_in(page)[stopped + VOICE // 50 :].max(initial=0) == 0
    puppet.say({"type": "audio_end", "reply": 1, "samples": pcm.size, "ending": "interrupted", "heard": "One two"})
    puppet.say({"type": "state", "state": "listening"})
    puppet.say({"type": "transcript", "role": "user", "text": "Thanks.", "final": True, "turn": 2})
    assert page.inner_text("#log .unheard") == "three four."
    puppet.say({"type": "audio", "reply": 2, "from": 0}, pcm)
    until(page, lambda: last_played(puppet).get("reply") == 2)
    puppet.say({"type": "clear"})
    page.wait_for_timeout(300)
    assert last_played(puppet)["samples"] < pcm.size


def test_pressing_typing_and_muting(puppet: Puppet, cable: Cable, opened: Callable[..., Any]) -> None:
    page = opened(cable.port)
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the big button comes second, behind the settings
    shows(page, "listening")
    page.get_by_role("button", name="Press to mute").click()
    shows(page, "muted")
    until(page, lambda: puppet.told("mute") == [{"type": "mute", "on": True}])
    n = puppet.mic.size
    until(page, lambda: puppet.mic.size > n + 8000)
    assert not puppet.mic[n + 3200 :].any()  # silence, not nothing: the server's clock goes on
    page.get_by_role("button", name="Unmute the microphone").click()
    page.get_by_role("textbox", name="Type a question").fill("How far is it?")
    page.keyboard.press("Enter")
    until(page, lambda: puppet.told("text") == [{"type": "text", "text": "How far is it?"}])
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Push to talk").check()
    page.get_by_role("button", name="Done").click()
    shows(page, "keyed")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.down(" ")
    shows(page, "listening")
    page.keyboard.up(" ")
    until(page, lambda: [m["down"] for m in puppet.told("push_to_talk")] == [True, False])
    page.get_by_role("button", name="End the conversation").click()
    shows(page, "off")
    until(page, lambda: puppet.told("end"))


def test_a_microphone_that_goes_is_taken_again(puppet: Puppet, cable: Cable, opened: Callable[..., Any]) -> None:
    keep = "const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices); window.tracks = [];"
    keep += "navigator.mediaDevices.getUserMedia = async (wish) => { const stream = await ask(wish);"
    keep += "tracks.push(...stream.getTracks()); return stream; };"
    page = opened(cable.port, script=keep)
    page.click("#orb")
    shows(page, "listening")
    page.evaluate("tracks[0].stop(); tracks[0].dispatchEvent(new Event('ended'));")
    until(page, lambda: page.evaluate("tracks.length") == 2)
    n = puppet.mic.size
    until(page, lambda: puppet.mic[n:].any())
    page.click("#end")
    shows(page, "off")
    assert page.evaluate("tracks.every((track) => track.readyState === 'ended')")  # nobody listens any more


def test_a_wall_screen_begins_by_itself(puppet: Puppet, cable: Cable, opened: Callable[..., Any]) -> None:
    shows(opened(cable.port, path="?kiosk"), "listening")


AIR = """
const air = new AudioContext();
const ear = air.createMediaStreamDestination();
navigator.mediaDevices.getUserMedia = async () => ear.stream;
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (to, ...rest) {
  if (to instanceof AudioDestinationNode) {
    const way = this.context.createMediaStreamDestination();
    connect.call(this, way);
    connect.call(air.createMediaStreamSource(way.stream), ear);
  }
  return connect.call(this, to, ...rest);
};
"""
"""A microphone that hears the loudspeaker, which nothing cancels."""


@pytest.mark.parametrize("script", [AIR, ""])
def test_an_echo_is_reported(puppet: Puppet, cable: Cable, opened: Callable[..., Any], script: str) -> None:
    page = opened(cable.port, script=script)
    page.click("#orb")
    shows(page, "listening")
    speech = recording("jfk.flac")
    longer = np.interp(np.arange(speech.size * 3 // 2) / 1.5, np.arange(speech.size), speech).astype(np.int16)
    send(puppet, 1, longer)
    if script:
        assert until(page, lambda: puppet.told("echo"))[0]["likeness"] > 0.75
    else:
        until(page, lambda: last_played(puppet)["samples"] > 8 * VOICE)
        assert puppet.told("echo") == []


def test_a_line_that_has_gone_silent_is_replaced(puppet: Puppet, cable: Cable, opened: Callable[..., Any]) -> None:
    """Without a network a socket stays open, and nothing comes of it: only the missing acknowledgements tell."""
    page = opened(cable.port)
    page.click("#orb")
    shows(page, "listening")
    until(page, lambda: puppet.mic.size > RATE)
    puppet.say({"type": "ack", "mic": RATE})
    until(page, lambda: puppet.told("resume"))
    shows(page, "listening")
    assert puppet.n_connections == 2
    n = puppet.mic.size
    until(page, lambda: puppet.mic.size > n + RATE)


def test_a_session_that_is_no_more_begins_anew(puppet: Puppet, cable: Cable, opened: Callable[..., Any]) -> None:
    page = opened(cable.port)
    page.click("#orb")
    shows(page, "listening")
    puppet.say({"type": "transcript", "role": "user", "text": "Before.", "final": True, "turn": 1})
    until(page, lambda: page.inner_text("#asked") == "Before.")
    puppet.accepts_resume = False
    cable.cut()
    shows(page, "lost")
    cable.mend()
    until(page, lambda: len(puppet.told("start")) == 2)
    shows(page, "listening")
    assert [m["type"] for m in puppet.messages if m["type"] in ("start", "resume")] == ["start", "resume", "start"]
    puppet.say({"type": "transcript", "role": "user", "text": "After.", "final": True, "turn": 1})
    until(page, lambda: page.inner_text("#asked") == "After.")
    assert "Before." in page.inner_text("#log")


@pytest.mark.parametrize(
    ("code", "reason", "view", "said"),
    [
        (1008, "A key is needed, and this is none.", "closed", "A key is needed"),
        (4001, "", "closed", "goes on in another window"),
        (4004, "", "closed", "Nobody said anything"),
        (1013, "All places are taken.", "lost", "All places are taken. It is tried again"),
    ],
)
def test_who_is_refused_is_told_why(
    puppet: Puppet, cable: Cable, opened: Callable[..., Any], code: int, reason: str, view: str, said: str
) -> None:
    page = opened(cable.port)
    page.click("#orb")
    shows(page, "listening")
    puppet.close(code, reason)
    shows(page, view)
    assert said in page.inner_text("#stage")
    assert page.is_visible("#key") == (code == 1008)
    if view == "closed":
        page.get_by_role("button", name="Start again").last.click()
        shows(page, "listening")


REFUSE = "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', '%s'); };"
INSECURE = "Object.defineProperty(globalThis, 'isSecureContext', { value: false });"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("", "allow the microphone"),  # really refused: nobody gave the permission
        (REFUSE % "NotFoundError", "Plug one in"),
        (REFUSE % "NotReadableError", "Another program is using the microphone"),
        (INSECURE, "Open this page over https"),
    ],
)
def test_without_a_microphone_it_says_what_to_do(
    puppet: Puppet, cable: Cable, opened: Callable[..., Any], script: str, said: str
) -> None:
    page = opened(cable.port, script=script, allowed=False)
    page.click("#orb")
    shows(page, "trouble")
    assert said in page.get_by_role("alert").inner_text()
    if script != INSECURE:
        page.get_by_role("button", name="Type instead").click()
        page.keyboard.type("Hello")
        page.keyboard.press("Enter")
        until(page, lambda: puppet.told("text"))
        assert puppet.mic.size == 0


IN_SIGHT = """() => {
  const box = document.getElementById("answer").getBoundingClientRect();
  const word = document.querySelector("#answer .now").getBoundingClientRect();
  return box.top <= word.top && word.bottom <= box.bottom + 2;
}"""
"""A long answer moves with the voice."""

CONTRAST = """() => {
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const back = (node) => {
    const colour = getComputedStyle(node).backgroundColor;
    return /, 0\\)$/.test(colour) ? back(node.parentElement) : colour;
  };
  return [...document.querySelectorAll("h1, p, li, span, button, input, summary")]
    .filter((node) => node.textContent.trim() && node.checkVisibility())
    .map((node) => [node.id || node.className, ratio(light(getComputedStyle(node).color), light(back(node)))]);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read(puppet: Puppet, cable: Cable, opened: Callable[..., Any], scheme: str) -> None:
    page = opened(cable.port, color_scheme=scheme)
    page.click("#orb")
    shows(page, "listening")
    for turn in (1, 2):
        text = {"text": "And what should I pack for three days?", "final": True}
        puppet.say({"type": "transcript", "role": "user", "turn": turn, **text})
        puppet.say({"type": "transcript", "role": "assistant", "reply": turn, **text})
        puppet.say({"type": "caption", "reply": turn, "words": [["And", 1], ["what", 2], ["should", 999999]]})
    puppet.say({"type": "audio_end", "reply": 1, "samples": 9, "ending": "interrupted", "heard": "And what"})
    until(page, lambda: page.query_selector("#log .unheard"))
    for width, height in ((390, 844), (1280, 800), (1080, 1920)):
        page.set_viewport_size({"width": width, "height": height})
        low = [found for found in page.evaluate(CONTRAST) if found[1] < 4.5]
        assert low == []
        root = "document.documentElement"
        assert page.evaluate(f"{root}.scrollWidth <= innerWidth && {root}.scrollHeight <= innerHeight")


# --- with the real server


@pytest.fixture
def talking(tmp_path: Path) -> Iterator[int]:
    """`voiceloop serve` with a storyteller, and its port."""
    command = [sys.executable, "-m", "voiceloop", "serve", "--json", "--port", "0", "--offline"]
    env = environment(tmp_path, VOICELOOP_HANDLER_NAME=storyteller(tmp_path), PYTHONPATH=str(ROOT))
    with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield urlsplit(json.loads(process.stdout.readline())["url"]).port or 0
        finally:
            process.terminate()
            process.wait(20)


def test_a_conversation(talking: int, opened: Callable[..., Any], tmp_path: Path) -> None:
    """A question and its answer, a voice over the answer, and a sentence while the network is away for 3 s."""
    cable = Cable(talking)
    page = opened(cable.port, script=TAP)
    page.click("#orb")
    asked = page.locator("#asked")
    until(page, lambda: misheard("go forward ten meters", asked.inner_text()) <= 0.25)
    shows(page, "speaking")
    until(page, lambda: page.locator("#answer .now").count())
    until(page, lambda: misheard("sunday is the best part of the week", asked.inner_text()) <= 0.25)
    told, untold = page.locator("#log .assistant").first.inner_text(), page.inner_text("#log .unheard")
    told = told.removeprefix("Answer:").strip()
    assert STORY.startswith(told.removesuffix(untold).strip())
    assert untold
    assert untold in STORY  # as far as it was about to be said
    until(page, lambda: page.inner_text("#answer") == SUNDAY)
    shows(page, "listening")
    played = heard_in(page)
    shows(page, "hearing")
    page.wait_for_timeout(3000)
    cable.cut()
    shows(page, "lost")
    page.wait_for_timeout(3000)
    cable.mend()
    page.wait_for_selector("body:not([data-view=lost])")
    speech = "and so my fellow americans ask not what your country can do for you ask what you can do for your country"

    def third() -> str:
        lines = page.locator("#log .user").all_inner_texts()[2:]
        return " ".join(line.removeprefix("You:") for line in lines)

    until(page, lambda: misheard(speech, third()) <= 0.15)
    path = tmp_path / "loudspeaker.wav"
    soundfile.write(path, played, VOICE)
    assert misheard(f"{told.removesuffix(untold)} {SUNDAY}", said_in(path)) <= 0.25, said_in(path)
    cable.close()
