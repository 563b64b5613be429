"""The sound port on a real PortAudio, ALSA and PulseAudio, with a virtual loudspeaker and microphone.

The code under test runs in a process of its own, because PortAudio reads the environment when it is initialised.
It prints `ready`, does what its script says, and ends with one line of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from voiceloop.core.audio import RATE, Pcm, level_db, silence
from voiceloop.testing import tone

from .soundserver import MICROPHONE, SPEAKER, SoundServer, sound_server, unless_stalled

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parent.parent.parent
SPEECH = ROOT / "tests" / "data" / "ps_goforward.flac"

DUPLEX = "two_streams=frozenset()"
"""One stream for both ends, which ALSA does not get by itself (adapters/audio/sounddevice.py says why)."""

PRELUDE = """
import asyncio, json, sys, threading, time
from contextlib import aclosing
import numpy as np
from voiceloop.adapters.audio.sounddevice import Settings, SoundDevicePort, list_devices
from voiceloop.adapters.resample.stream import StreamResampler
from voiceloop.errors import DeviceError
from voiceloop.testing import tone

def port(ear=None, mouth=None, **settings):
    return SoundDevicePort(ear, mouth, StreamResampler, Settings(**settings))

def ready():
    print("ready", flush=True)

async def listen(port, seconds, at={}):
    mic, ref, news, lost, n = [], [], [], 0, 0
    async with aclosing(port.frames()) as captures:
        async for capture in captures:
            mic.append(capture.mic); ref.append(capture.ref); lost += capture.lost
            news += [[p.reply, p.n, p.final] for p in capture.played]
            n += 1
            if n in at:
                done = at[n]()
                if asyncio.iscoroutine(done):
                    await done
            if n >= seconds * 50:
                break
    return np.concatenate(mic), np.concatenate(ref), news, lost

stalls = [0.0]

def watch():
    while True:
        before = time.monotonic()
        time.sleep(0.005)
        stalls.append(max(stalls.pop(), time.monotonic() - before - 0.005))

threading.Thread(target=watch, daemon=True).start()

def result(**values):
    print(json.dumps({"stalled": stalls[0], **values}), flush=True)
"""


def undisturbed(run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a run gives in which the machine did not stall for long; the fifth one counts whatever it did."""
    for _ in range(4):
        got = run()
        if got["stalled"] < 0.03:
            return got
    return run()


class Child:
    """A process that runs `async def main()` of a script on a sound server."""

    def __init__(self, server: SoundServer, script: str, env: dict[str, str] | None = None) -> None:
        code = PRELUDE + textwrap.dedent(script) + "\nasyncio.run(main())\n"
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code],
            env={**server.env, **(env or {})}, cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line.strip() != "ready":
            raise AssertionError(f"{line}\n{self.process.communicate(timeout=20)[1]}")

    def result(self, timeout_s: float = 30.0) -> dict[str, Any]:
        """What it printed at the end; nothing else may have been printed, not by C libraries either."""
        try:
            out, err = self.process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"it did not end within {timeout_s} s") from None
        assert err == ""
        assert self.process.returncode == 0
        return json.loads(out)


def envelope(pcm: Pcm, step: int = RATE // 50) -> np.ndarray:
    return np.array([level_db(pcm[i : i + step]) for i in range(0, pcm.size - step + 1, step)]).clip(-60, 0) + 60


def likeness(heard: Pcm, source: Pcm) -> float:
    """Correlation of the envelope of a recording with that part of what was heard which fits best."""
    x, y = envelope(heard), envelope(source)
    return max(float(np.corrcoef(x[i : i + y.size], y)[0, 1]) for i in range(x.size - y.size + 1) if x[i:].any())


def load(path: Path) -> Pcm:
    data, rate = soundfile.read(path, dtype="int16")
    assert rate == RATE
    return data


@pytest.mark.parametrize("options", ["", DUPLEX, "rates=(48_000,)", "rates=(44_100,), mouth='desk'"])
def test_what_is_spoken_arrives_in_frames(server: SoundServer, tmp_path: Path, options: str) -> None:
    child = Child(
        server,
        f"""
        async def main():
            p = port({options})
            await p.open()
            ready()
            mic, ref, news, lost = await listen(p, 4.5)
            np.save({str(tmp_path / "mic.npy")!r}, mic)
            await p.close()
            await p.close()
            result(lost=lost, rate=p.out_rate, ref=int(np.abs(ref).max()), news=news)
        """,
    )
    server.speak(SPEECH)
    got = child.result()
    assert (got["lost"], got["ref"], got["news"]) == (0, 0, [])
    assert got["rate"] == {"rates=(48_000,)": 48_000, "rates=(44_100,), mouth='desk'": 44_100}.get(options, RATE)
    assert likeness(np.load(tmp_path / "mic.npy"), load(SPEECH)) > 0.9


@pytest.mark.parametrize("options", ["", DUPLEX, "mouth='desk', rates=(24_000,)"])
def test_what_is_written_is_heard_and_counted(server: SoundServer, tmp_path: Path, options: str) -> None:
    script = f"""
    async def main():
        p = port({options})
        await p.open()
        ready()
        reply = tone(1.0, rate=p.out_rate)
        mic, ref, news, lost = await listen(p, 2.5, {{10: lambda: p.write(3, reply)}})
        np.save({str(tmp_path / "ref.npy")!r}, ref)
        await p.close()
        result(news=news, size=reply.size, xruns=p.xruns)
    """

    def run() -> dict[str, Any]:
        with server.listen(tmp_path / "out.wav"):
            return Child(server, script).result()

    got = undisturbed(run)
    counts = [n for _, n, _ in got["news"]]
    assert counts == sorted(counts)
    assert counts[-1] == got["size"]
    assert len(counts) > 40, "progress is told as it goes"
    out, ref = load(tmp_path / "out.wav"), np.load(tmp_path / "ref.npy")
    assert loud_s(out) == pytest.approx(1.0, abs=0.06)
    assert loud_s(ref) == pytest.approx(1.0, abs=0.06)


def loud_s(pcm: Pcm) -> float:
    """Seconds that are not silent, to 5 ms."""
    return sum(level_db(pcm[i : i + 80]) > -40 for i in range(0, pcm.size - 79, 80)) * 0.005


def test_hold_resume_and_flush_stop_where_they_say(server: SoundServer, tmp_path: Path) -> None:
    script = """
    async def main():
        p = port()
        await p.open()
        ready()
        stops = []
        mic, ref, news, lost = await listen(p, 3.5, {
            10: lambda: p.write(1, tone(1.9, rate=p.out_rate)),
            50: lambda: stops.append(p.hold(1)),
            90: lambda: p.resume(1),
            130: lambda: stops.append(p.flush(1)),
            131: lambda: p.write(1, tone(1.0, rate=p.out_rate)),
        })
        await p.close()
        result(stops=stops, news=news, xruns=p.xruns)
    """

    def run() -> dict[str, Any]:
        with server.listen(tmp_path / "out.wav"):
            return Child(server, script).result()

    got = undisturbed(run)
    held, flushed = got["stops"]
    assert got["news"][-1] == [1, flushed, True]
    assert sum(final for _, _, final in got["news"]) == 1
    while_held = [n for _, n, _ in got["news"] if n <= held]
    assert while_held[-1] == held, "after the hold the count goes up to the stop and waits there"
    out = load(tmp_path / "out.wav")
    loud = np.array([level_db(out[i : i + 80]) > -40 for i in range(0, out.size - 79, 80)])
    edges = np.flatnonzero(np.diff(loud.astype(int)))
    assert edges.size == 4, "on, held, on, flushed"
    first, pause, second = np.diff(edges) * 0.005
    # Each stop is followed by 5 ms of fade-out that do not count.
    assert first == pytest.approx(held / RATE, abs=0.03)
    assert pause == pytest.approx(40 * 0.02, abs=0.06)
    assert second == pytest.approx((flushed - held) / RATE, abs=0.03)


@pytest.mark.parametrize("options", ["", DUPLEX], ids=["two", "duplex"])
def test_the_reference_matches_the_echo(server: SoundServer, options: str) -> None:
    """The microphone hears the loudspeaker: the reference comes before its echo and stays in step with it."""
    child = Child(
        server,
        f"""
        async def main():
            p = port({options})
            await p.open()
            ready()
            noise = (np.random.default_rng(1).normal(0, 4000, 8000)).astype(np.int16)
            mic, ref, news, lost = await listen(p, 6, {{50 * i: lambda i=i: p.write(i, noise) for i in (1, 2, 3, 4)}})
            await p.close()
            lags = []
            for i in (1, 2, 3, 4):
                part = slice(i * 16000 - 800, i * 16000 + 15200)
                both = np.fft.rfft(mic[part], 32768) * np.conj(np.fft.rfft(ref[part], 32768))
                lags.append(int(np.fft.irfft(both).argmax()))
            result(lags=lags)
        """,
        env={"PULSE_SOURCE": f"{SPEAKER}.monitor"},
    )
    lags = child.result()["lags"]
    assert all(0 < lag < 0.3 * RATE for lag in lags)
    assert max(lags) - min(lags) <= 2 * RATE // 50


@pytest.mark.parametrize(
    ("happens", "message"),
    [
        (lambda server: server.stop(), "was lost"),
        (lambda server: server.suspend(MICROPHONE), "has stopped giving sound"),
        (lambda server: server.pactl("suspend-sink", SPEAKER, "1"), "has stopped giving sound"),
    ],
    ids=["killed", "microphone", "loudspeaker"],
)
@pytest.mark.parametrize("options", ["", DUPLEX], ids=["two", "duplex"])
@pytest.mark.usefixtures("server")
def test_a_lost_device_ends_the_frames(happens: Callable[[SoundServer], object], message: str, options: str) -> None:
    """On a busy machine ALSA's plugin sometimes ends a duplex stream by itself, or hangs in closing it."""

    def scene() -> None:
        with sound_server() as server:
            child = Child(
                server,
                f"""
                async def main():
                    p = port({options})
                    await p.open()
                    try:
                        async with aclosing(p.frames()) as captures:
                            await anext(captures)
                            ready()
                            async for _ in captures:
                                pass
                    except DeviceError as error:
                        said = str(error)
                    p.hold(1), p.flush(1)
                    await p.close()
                    result(said=said)
                """,
            )
            time.sleep(0.5)
            happens(server)
            # 2 s of watchdog, and 10 until a driver that hangs in closing is left alone (Settings.open_s).
            assert message in child.result()["said"]

    unless_stalled(scene)


@pytest.mark.parametrize("who", ["process", "server"])
def test_a_stall_does_not_make_it_spin(server: SoundServer, who: str) -> None:
    """A duplex stream of PortAudio on ALSA's PulseAudio plugin took a whole core from its first underrun on."""
    child = Child(
        server,
        """
        import time
        async def main():
            p = port()
            await p.open()
            await listen(p, 1)
            ready()
            await asyncio.sleep(1)
            before = time.process_time()
            async with asyncio.timeout(3):
                await p.write(1, tone(1.0))
                await asyncio.sleep(2)
            spent = time.process_time() - before
            await p.close()
            result(spent=spent)
        """,
    )
    stalled = child.process.pid if who == "process" else server.pid
    os.kill(stalled, signal.SIGSTOP)
    time.sleep(0.25)
    os.kill(stalled, signal.SIGCONT)
    # Of 2 s: 0.04 is usual, 1.5 to 2 was the bug.
    assert child.result()["spent"] < 0.8


def said(server: SoundServer, script: str) -> str:
    body = textwrap.indent(textwrap.dedent(script), " " * 8)
    return Child(
        server,
        f"""
async def main():
    ready()
    try:
{body}
    except DeviceError as error:
        result(said=str(error))
        """,
    ).result()["said"]


def test_unknown_names_get_the_list(server: SoundServer) -> None:
    message = said(server, "await port('Nowhere').open()")
    assert 'No microphone is called "Nowhere"' in message
    assert '"desk" (ALSA)' in message


def test_no_device_at_all(server: SoundServer) -> None:
    server.stop()
    assert "No microphone or loudspeaker was found" in said(server, "await port().open()")


def test_a_rate_that_nobody_takes(server: SoundServer) -> None:
    message = said(server, "await port(rates=(10_000_000,)).open()")
    assert "opens at none of the usual sample rates" in message


def test_a_server_that_comes_later_is_found_by_the_next_open(server: SoundServer) -> None:
    server.stop()
    child = Child(
        server,
        """
        async def main():
            try:
                await port().open()
            except DeviceError:
                ready()
            sys.stdin.readline()
            p = port()
            await p.open()
            mic, *_ = await listen(p, 0.5)
            await p.close()
            result(n=mic.size)
        """,
    )
    server.start()
    assert child.process.stdin is not None
    child.process.stdin.write("\n")
    child.process.stdin.flush()
    assert child.result()["n"] == RATE // 2


def test_the_list_of_devices(server: SoundServer) -> None:
    child = Child(
        server,
        """
        async def main():
            ready()
            result(devices=[[d.name, d.host_api, d.rates, d.is_default_input, d.is_default_output, d.inputs > 0]
                            for d in list_devices()])
        """,
    )
    devices = {name: rest for name, *rest in child.result()["devices"]}
    every = [8_000, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000]
    assert devices["default"] == ["ALSA", every, True, True, True]
    assert devices["desk"] == ["ALSA", every, False, False, True]


def test_the_helper_hears_an_echo(server: SoundServer, tmp_path: Path) -> None:
    """`echo` of the test server itself: the microphone hears what is played."""
    reply = np.concatenate([silence(RATE // 5), tone(0.5), silence(RATE // 5)])
    soundfile.write(tmp_path / "reply.wav", reply, RATE)
    with server.echo():
        child = Child(
            server,
            f"""
            async def main():
                p = port()
                await p.open()
                ready()
                mic, *_ = await listen(p, 2.5, {{10: lambda: p.write(1, tone(0.5, rate=p.out_rate))}})
                np.save({str(tmp_path / "mic.npy")!r}, mic)
                await p.close()
                result()
            """,
        )
        child.result()
    assert loud_s(np.load(tmp_path / "mic.npy")) == pytest.approx(0.5, abs=0.1)
