"""A private PulseAudio with a virtual loudspeaker and microphone, for tests of the real sound path.

`speak` plays a file to the microphone, `listen` records the loudspeaker. PortAudio reads the environment when it
is initialised, so the code under test runs in a process of its own with `server.env`.
Needs Debian's pulseaudio, pulseaudio-utils and libasound2-plugins. Set-up as measured in shared/ENGINES.md.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

SPEAKER = "SPEAKER"
MICBUS = "MICBUS"
MICROPHONE = "MICROPHONE"

_ATTEMPTS, _STALL_S = 5, 0.02  # a block of sound: what is shorter moves nothing

# norewinds=1: without it the first callbacks come only after a second.
SCRIPT = """
load-module module-native-protocol-unix auth-anonymous=1 socket={socket}
load-module module-null-sink sink_name=SPEAKER rate=48000 channels=2 norewinds=1
load-module module-null-sink sink_name=MICBUS rate=48000 channels=2 norewinds=1
load-module module-remap-source master=MICBUS.monitor source_name=MICROPHONE
set-default-sink SPEAKER
set-default-source MICROPHONE
"""

# The second card exists so that there is more than one name to choose from.
ALSA = """
pcm.!default { type pulse hint { show on description "Default" } }
ctl.!default { type pulse }
pcm.desk { type pulse hint { show on description "desk" } }
"""


def available() -> bool:
    """True if everything the server needs is installed."""
    return all(shutil.which(program) for program in ("pulseaudio", "pactl", "paplay", "parec"))


class SoundServer:
    """One running server. `env` is what a process needs in order to use it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.socket = home / "pulse.sock"
        alsa = home / "asound.conf"
        alsa.write_text(ALSA)
        (home / "server.pa").write_text(SCRIPT.format(socket=self.socket))
        (home / "run").mkdir(mode=0o700)
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PULSE", "ALSA", "JACK"))},
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home / "run"),
            "PULSE_SERVER": f"unix:{self.socket}",
            "ALSA_CONFIG_PATH": f"{_alsa_conf()}:{alsa}",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, timeout_s: float = 10.0) -> None:
        """Starts the server and waits until both ends are there. Raises RuntimeError with the server's log."""
        log = (self.home / "server.log").open("wb")
        with log:
            self._process = subprocess.Popen(
                ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no",
                 "-F", str(self.home / "server.pa")],
                env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + timeout_s
        while MICROPHONE not in self.pactl("list", "short", "sources", check=False):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError("pulseaudio did not start:\n" + (self.home / "server.log").read_text())
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        """Its process, to be stalled."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """Ends the server at once, as if it had crashed. Twice is legal."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        self.socket.unlink(missing_ok=True)

    def pactl(self, *arguments: str, check: bool = True) -> str:
        """Output of `pactl` on this server."""
        done = subprocess.run(["pactl", *arguments], env=self.env, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise RuntimeError(f"pactl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def speak(self, path: Path) -> None:
        """Plays a WAV or FLAC to the microphone; returns when it has been played."""
        subprocess.run(["paplay", "-d", MICBUS, "--latency-msec=50", str(path)], env=self.env, check=True)

    @contextmanager
    def listen(self, path: Path, rate: int = 16_000) -> Iterator[None]:
        """Records what the loudspeaker plays to a mono WAV until the block is left."""
        recorder = subprocess.Popen(
            ["parec", "-d", f"{SPEAKER}.monitor", f"--rate={rate}", "--channels=1", "--format=s16le",
             "--latency-msec=20", "--file-format=wav", str(path)],
            env=self.env,
        )  # fmt: skip
        try:
            self._wait_for("source-outputs", "parec")
            yield
        finally:
            recorder.send_signal(signal.SIGINT)
            recorder.wait()

    @contextmanager
    def echo(self, latency_ms: int = 20, level_db: float = 0.0) -> Iterator[None]:
        """Makes the microphone hear the loudspeaker. The true delay is longer than `latency_ms`: measure it.

        adjust_time=0: the module would play up to 0.1 % faster or slower to keep that latency, as no room does.
        """
        before = set(self._inputs())
        module = self.pactl(
            "load-module", "module-loopback", f"source={SPEAKER}.monitor", f"sink={MICBUS}",
            f"latency_msec={latency_ms}", "adjust_time=0",
        ).strip()  # fmt: skip
        for number in set(self._inputs()) - before:
            self.pactl("set-sink-input-volume", number, f"{level_db}dB")
        try:
            yield
        finally:
            self.pactl("unload-module", module, check=False)

    def suspend(self, source: str = MICROPHONE, on: bool = True) -> None:
        """Stops (or starts) a source: its callbacks cease without any error."""
        self.pactl("suspend-source", source, "1" if on else "0")

    def _inputs(self) -> list[str]:
        """Numbers of what plays at the moment."""
        return [line.split()[0] for line in self.pactl("list", "short", "sink-inputs").splitlines()]

    def _wait_for(self, kind: str, name: str, timeout_s: float = 5.0) -> None:
        deadline = time.monotonic() + timeout_s
        while name not in self.pactl("list", kind):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not connect to the sound server")
            time.sleep(0.02)


@contextmanager
def sound_server() -> Iterator[SoundServer]:
    """A running server in a directory of its own; gone when the block is left."""
    with ExitStack() as stack:
        # Not under pytest's tmp_path: the path of a unix socket may have 107 characters.
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vl-sound-", ignore_cleanup_errors=True)))
        server = SoundServer(home)
        stack.callback(server.stop)
        server.start()
        yield server


def _alsa_conf() -> str:
    """The system's own ALSA definitions: the plugins' types are looked up there."""
    return "/usr/share/alsa/alsa.conf"


class _Stalls:
    """How long this process was kept waiting at most, seconds."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> _Stalls:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.is_set():
            before = time.monotonic()
            time.sleep(0.005)
            self.longest_s = max(self.longest_s, time.monotonic() - before - 0.005)


def unless_stalled(scene: Callable[[], None]) -> None:
    """Plays a scene; again, at most four times, if it failed while the machine stood still for a moment: then the sound
    server's loopback moves, and with it the echo, as in no room."""
    for attempt in range(_ATTEMPTS):
        with _Stalls() as stalls:
            try:
                scene()
                return
            except AssertionError:
                if attempt == _ATTEMPTS - 1 or stalls.longest_s < _STALL_S:
                    raise
