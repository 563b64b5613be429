"""`voiceloop connect` through a sound server, against `voiceloop serve` in a process of its own, with real engines."""

from __future__ import annotations

import json
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

from tests.program import environment, misheard, voiceloop
from voiceloop.core.silence import CHIME

from .soundserver import SoundServer, unless_stalled
from .test_talk import Talk, check_barge_in, reaching, said_in, storyteller, talking

pytestmark = pytest.mark.e2e

GOING = "go forward ten meters"
SUNDAY = "sunday is the best part of the week"


class Proxy:
    """A way to a port of this machine that can be cut, as Wi-Fi is."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._open = True
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut(self) -> None:
        """All connections end, and new ones do not get through."""
        self._open = False
        for pair in self._pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """New ones do again."""
        self._open = True

    def close(self) -> None:
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()
        for pair in self._pairs:
            for end in pair:
                end.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self._open:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._to))
            self._pairs.append((near, far))
            for one, other in ((near, far), (far, near)):
                self._threads.append(threading.Thread(target=self._pass, args=(one, other)))
                self._threads[-1].start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65_536):
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class House:
    """A running `voiceloop serve`. url: of its page."""

    def __init__(self, home: Path, *arguments: str, port: int = 0, **variables: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "voiceloop", "serve", "--json", "--port", str(port), *arguments],
            cwd=home, env=environment(home) | variables,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout
        assert self.process.stderr
        ready, _, _ = select.select([self.process.stdout, self.process.stderr], [], [], 60)
        assert self.process.stdout in ready, self.process.stderr.read()
        self.url: str = json.loads(self.process.stdout.readline())["url"]
        self.port = int(self.url.rpartition(":")[2])

    def stop(self) -> None:
        """Ctrl-C. Twice is legal."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=20)


@contextmanager
def house(home: Path, *arguments: str, **variables: str) -> Iterator[House]:
    made = House(home, *arguments, **variables)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.communicate()


@pytest.fixture
def served(embedded: None, tmp_path: Path) -> Iterator[House]:
    """A server that tells a story, with the embedded engines."""
    storyteller(tmp_path)
    with house(tmp_path, VOICELOOP_HANDLER_NAME="teller:answer") as made:
        yield made


def connected(server: SoundServer, home: Path, address: str, **variables: str) -> AbstractContextManager[Talk]:
    """A satellite that listens."""
    return talking(server, home, address, command="connect", **variables)


@contextmanager
def proxied(served: House) -> Iterator[Proxy]:
    proxy = Proxy(served.port)
    try:
        yield proxy
    finally:
        proxy.close()


def test_speech_in_and_the_reply_out_and_a_voice_over_it_stops_it(
    server: SoundServer, served: House, tmp_path: Path, spoken: dict[str, Path]
) -> None:
    heard = tmp_path / "loudspeaker.wav"
    with connected(server, tmp_path, served.url) as talk:
        with server.listen(heard):
            server.speak(spoken["ps_goforward"])
            talk.until("ReplySaid", clause=1)
            server.speak(spoken["sb_spk1_snt5"])
            talk.until("ReplyEnded", ending="interrupted")
            talk.until("ReplyEnded")
            talk.last_sound()
        assert talk.stop() == ""
    assert misheard(check_barge_in(talk), said_in(heard)) <= 0.2, said_in(heard)


def test_over_its_own_echo_it_hears_people_and_not_itself(
    server: SoundServer, served: House, tmp_path: Path, spoken: dict[str, Path]
) -> None:
    """The echo is cancelled on the satellite: the server never hears it."""

    def scene() -> None:
        with server.echo(), connected(server, tmp_path, served.url) as talk:
            server.speak(spoken["ps_goforward"])
            talk.until("ReplySaid", clause=1)
            states = [event["state"] for event in talk.of("StateChanged")]
            assert states.count("hearing") == 1, talk.story()
            server.speak(spoken["sb_spk1_snt5"])
            talk.until("ReplyEnded")
            talk.until("ReplyEnded")
            talk.last_sound()
            assert talk.stop() == ""
        check_barge_in(talk, most=0.6)

    unless_stalled(scene)


def test_a_network_that_is_gone_for_3_s_in_the_middle_of_a_sentence(
    server: SoundServer, served: House, tmp_path: Path, spoken: dict[str, Path]
) -> None:
    heard = tmp_path / "loudspeaker.wav"
    with proxied(served) as proxy, connected(server, tmp_path, f"ws://127.0.0.1:{proxy.port}/ws") as talk:
        with server.listen(heard):
            speaking = threading.Thread(target=server.speak, args=(spoken["ps_goforward"],))
            speaking.start()
            talk.until("StateChanged", state="hearing")
            proxy.cut()
            talk.until("ServerLost", kept=True)
            time.sleep(3)
            proxy.mend()
            talk.until("ServerBack", again=True)
            speaking.join()
            while (said := talk.until("ReplySaid"))["text"] == CHIME:
                pass  # the sign that the connection is back
            ended = talk.until("ReplyEnded", reply=said["reply"])
            talk.last_sound()
        assert talk.stop() == ""
    (question,) = talk.of("Heard")
    assert misheard(GOING, question["text"]) <= 0.25
    assert (ended["ending"], ended["heard"]) == ("completed", ended["said"])
    assert misheard(ended["said"], said_in(heard)) <= 0.15, said_in(heard)


def test_a_network_that_is_gone_for_3_s_in_the_middle_of_a_reply(
    server: SoundServer, served: House, tmp_path: Path, spoken: dict[str, Path]
) -> None:
    heard = tmp_path / "loudspeaker.wav"
    with proxied(served) as proxy, connected(server, tmp_path, f"http://127.0.0.1:{proxy.port}") as talk:
        with server.listen(heard):
            server.speak(spoken["ps_goforward"])
            talk.until("ReplySaid", clause=1)
            proxy.cut()
            talk.until("ServerLost", kept=True)
            time.sleep(3)
            proxy.mend()
            talk.until("ServerBack", again=True)
            ended = talk.until("ReplyEnded")
            talk.last_sound()
        assert talk.stop() == ""
    assert (ended["ending"], ended["heard"]) == ("completed", ended["said"])
    assert misheard(ended["said"], said_in(heard)) <= 0.15, said_in(heard)


def test_a_sound_server_that_is_gone_for_a_while(
    server: SoundServer, served: House, tmp_path: Path, spoken: dict[str, Path]
) -> None:
    with connected(server, tmp_path, served.url) as talk:
        server.speak(spoken["ps_goforward"])
        talk.until("ReplySaid", clause=1)
        server.stop()
        talk.until("DeviceLost")
        time.sleep(2)
        server.start()
        talk.until("DeviceBack")
        ended = talk.until("ReplyEnded")
        assert (ended["ending"], ended["heard"]) == ("completed", ended["said"])
        server.speak(spoken["sb_spk1_snt5"])
        talk.until("ReplyEnded")
        assert misheard(SUNDAY, talk.of("Heard")[-1]["text"]) <= 0.25
        assert not talk.of("ServerLost")
        assert talk.stop() == ""


def test_a_server_that_stops_and_comes_back(
    server: SoundServer, served: House, tmp_path: Path, spoken: dict[str, Path]
) -> None:
    with connected(server, tmp_path, served.url) as talk:
        served.stop()
        lost = talk.until("ServerLost")
        assert lost["reason"].endswith(".")
        with house(tmp_path, "--port", str(served.port)):
            assert talk.until("ServerBack")["again"] is False
            talk.until("Ready")
            server.speak(spoken["ps_goforward"])
            assert misheard(GOING, talk.until("Heard")["text"]) <= 0.25
            talk.until("ReplyEnded")
            assert talk.stop() == ""


def test_doors_that_stay_closed(server: SoundServer, embedded: None, tmp_path: Path) -> None:
    key = voiceloop("keys", "add", "kitchen", home=tmp_path).stdout.strip()
    env = reaching(server, tmp_path)
    with house(tmp_path, VOICELOOP_SERVE_SESSIONS="1") as served:
        done = voiceloop("connect", served.url, home=tmp_path, env=env)
        said = "The server lets nobody in without a key that it knows: give it with --key, or in VOICELOOP_KEY.\n"
        assert (done.returncode, done.stdout, done.stderr) == (1, "", said)
        for _ in range(2):  # the second finds the place free: the server was told of the end of the first
            with connected(server, tmp_path, served.url, VOICELOOP_KEY=key) as talk:
                done = voiceloop("connect", served.url, "--key", key, home=tmp_path, env=env)
                assert (done.returncode, done.stderr) == (1, "All places are taken: try again in a while.\n")
                assert talk.stop() == ""
    done = voiceloop("connect", f"{served.url}/", "--json", home=tmp_path, env=env)
    assert (done.returncode, done.stdout) == (1, "")
    said = (
        f"There is no server at ws://127.0.0.1:{served.port}/ws (connection refused): is voiceloop serve running there?"
    )
    assert json.loads(done.stderr) == {"error": said}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ftp://kitchen",), "ftp://kitchen is no address of a server: write ws://HOST:PORT, or that of its page.\n"),
        (("ws://h", "--input", "a.wav"), "a.wav: voiceloop connect takes a microphone and a loudspeaker, no files.\n"),
        (("ws://h",), "Offline is set, but voiceloop connect needs a server.\n"),
    ],
)
def test_mistakes(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    env = environment(tmp_path, **({"VOICELOOP_OFFLINE": "true"} if arguments == ("ws://h",) else {}))
    done = voiceloop("connect", *arguments, home=tmp_path, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)
