"""The sound of other programs: lowered, put back as it was, also after a crash. On a made-up server."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from voiceloop.adapters.audio.others import PulseOthers, unrepaired

QUARTER = round(65536 * 0.25 ** (1 / 3))
NOBODY = 2**22 + 1
"""A process that cannot be: Linux counts to 2**22."""


class Server:
    """Answers as pactl would. streams: index -> (process, name, volumes). changed: set when a volume was."""

    def __init__(self) -> None:
        self.streams: dict[int, tuple[str, str, list[int]]] = {}
        self.calls: list[list[str]] = []
        self.changed = threading.Semaphore(0)
        self.broken = False

    def play(self, index: int, name: str, *volumes: int, pid: str = "7") -> None:
        self.streams[index] = (pid, name, list(volumes))

    def volumes(self, index: int) -> list[int]:
        return self.streams[index][2]

    def __call__(self, arguments: Sequence[str]) -> str:
        if self.broken:
            self.changed.release()
            raise subprocess.TimeoutExpired("pactl", 2)
        self.calls.append(list(arguments))
        if arguments[0] == "set-sink-input-volume":
            index = int(arguments[1])
            if index not in self.streams:
                raise subprocess.CalledProcessError(1, "pactl")
            self.volumes(index)[:] = map(int, arguments[2:])
            self.changed.release()
            return ""
        return json.dumps(
            [
                {
                    "index": index,
                    "volume": {f"channel-{i}": {"value": v, "db": "0.00 dB"} for i, v in enumerate(volumes)},
                    "properties": {"application.name": name, "application.process.id": pid},
                }
                for index, (pid, name, volumes) in self.streams.items()
            ]
        )

    def wait(self, n: int = 1) -> None:
        for _ in range(n):
            assert self.changed.acquire(timeout=10)


@pytest.fixture
def server() -> Server:
    return Server()


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def others(server: Server, folder: Path, factor: float = 0.25) -> PulseOthers:
    return PulseOthers(factor, folder, run=server, linger_s=0.0)


async def test_they_are_lowered_and_come_back_as_they_were(server: Server, tmp_path: Path) -> None:
    server.play(1, "music", 65536, 30000)
    server.play(2, "ours", 65536, pid=str(os.getpid()))
    it = others(server, tmp_path)
    it.lower()
    it.lower()
    server.wait()
    assert server.volumes(1) == [QUARTER, round(30000 * 0.25 ** (1 / 3))]
    it.restore()
    server.wait()
    assert server.volumes(1) == [65536, 30000]
    await it.aclose()
    await it.aclose()
    assert server.volumes(2) == [65536]
    assert files(tmp_path) == []


async def test_two_loops_leave_nothing_lower_than_it_was(server: Server, tmp_path: Path) -> None:
    server.play(1, "music", 65536)
    one, two = others(server, tmp_path), others(server, tmp_path)
    one.lower()
    server.wait()
    two.lower()
    server.play(2, "radio", 65536)
    server.wait()
    await one.aclose()
    await two.aclose()
    assert (server.volumes(1), server.volumes(2)) == ([65536], [65536])
    assert files(tmp_path) == []


async def test_the_end_puts_them_back(server: Server, tmp_path: Path) -> None:
    server.play(1, "music", 65536)
    it = others(server, tmp_path)
    it.lower()
    server.wait()
    await it.aclose()
    assert server.volumes(1) == [65536]


async def test_what_the_user_changes_meanwhile_stays(server: Server, tmp_path: Path) -> None:
    server.play(1, "music", 65536)
    server.play(2, "radio", 65536)
    it = others(server, tmp_path)
    it.lower()
    server.wait(2)
    server.volumes(1)[:] = [50000]
    await it.aclose()
    assert (server.volumes(1), server.volumes(2)) == ([50000], [65536])


async def test_who_begins_meanwhile_is_lowered_too(server: Server, tmp_path: Path) -> None:
    server.play(1, "music", 65536)
    it = others(server, tmp_path)
    it.lower()
    server.wait()
    server.play(2, "radio", 65536)
    server.wait()
    assert server.volumes(2) == [QUARTER]
    await it.aclose()


async def test_a_program_that_begins_at_the_volume_we_left_gets_its_own_back(server: Server, tmp_path: Path) -> None:
    server.play(1, "music", 65536)
    it = others(server, tmp_path)
    it.lower()
    server.wait()
    del server.streams[1]  # the next song is another stream; the server remembers what the program's volume was
    server.play(2, "music", QUARTER)
    await it.aclose()
    assert server.volumes(2) == [65536]
    assert files(tmp_path) == []


async def test_after_a_crash_the_next_start_puts_them_back(server: Server, tmp_path: Path) -> None:
    left = {"name": "music", "before": [65536], "lowered": [QUARTER]}
    (tmp_path / f"lowered-{NOBODY}.json").write_text(json.dumps([left]))
    (tmp_path / f"lowered-{os.getppid()}.json").write_text(json.dumps([{**left, "name": "theirs"}]))
    (tmp_path / "lowered-1x.json").write_text("{")
    server.play(1, "music", QUARTER)
    server.play(2, "theirs", QUARTER)
    assert unrepaired(tmp_path)
    it = others(server, tmp_path, factor=1.0)
    it.restore()
    server.wait()
    await it.aclose()
    assert (server.volumes(1), server.volumes(2)) == ([65536], [QUARTER])
    assert files(tmp_path) == [f"lowered-{os.getppid()}.json"]


async def test_what_is_lowered_is_written_down_before_it_is(server: Server, tmp_path: Path) -> None:
    server.play(1, "music", 65536)
    it = others(server, tmp_path)
    it.lower()
    server.wait()
    (name,) = files(tmp_path)
    (row,) = json.loads((tmp_path / name).read_text())
    assert row == {"name": "music", "before": [65536], "lowered": [QUARTER]}
    it.put_back()
    assert server.volumes(1) == [65536]
    await it.aclose()


async def test_a_server_that_does_not_answer_is_told_once(server: Server, tmp_path: Path, caplog) -> None:
    server.broken = True
    it = others(server, tmp_path)
    it.lower()
    server.wait()
    await it.aclose()
    it.put_back()
    assert [record.getMessage() for record in caplog.records] == [
        "other programs cannot be made quieter: pactl failed with TimeoutExpired"
    ]


async def test_a_program_that_ends_at_that_moment_is_no_error(server: Server, tmp_path: Path, caplog) -> None:
    server.play(1, "music", 65536)
    listing = server(["list"])
    del server.streams[1]
    server.play(2, "radio", 65536)
    rows = [listing[:-1] + "," + server(["list"])[1:]]

    def run(arguments: Sequence[str]) -> str:
        return rows.pop() if rows and arguments[0] == "-f" else server(arguments)

    it = PulseOthers(0.25, tmp_path, run=run, linger_s=0.0)
    it.lower()
    server.wait()
    await it.aclose()
    assert (server.volumes(2), caplog.records) == ([65536], [])


async def test_closing_what_was_never_used(server: Server, tmp_path: Path) -> None:
    await others(server, tmp_path).aclose()
    assert server.calls == []
