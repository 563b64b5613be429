"""The worker process: real, with engines that do as they are told."""

import asyncio
import os
import signal
import sys
from contextlib import aclosing
from pathlib import Path

import pytest

from tests.program import ROOT
from tests.server.engines import FakeEngines
from tests.server.serving import bench, gathered, until
from tests.server.test_transcriptions import SPEECH, wav
from voiceloop.config import override
from voiceloop.errors import ConfigError
from voiceloop.server.batch import Patience, batch
from voiceloop.server.orders import AHEAD, Heard, Recording, Said, Sound, Speech
from voiceloop.testing import FakeTranscriber, script
from voiceloop.wire.speech_errors import Refusal

pytestmark = pytest.mark.e2e

TWO = Speech("two words", "pcm")
QUICK = Patience(backoff=0.01)


@pytest.fixture
def engines(tmp_path: Path) -> FakeEngines:
    return FakeEngines(tmp_path)


def running(engines: FakeEngines, patience: Patience = QUICK):
    return batch(engines.config, patience, env=engines.env)


def samples(news: list[object]) -> int:
    return sum(len(piece.data) for piece in news if isinstance(piece, Sound)) // 2


async def test_speech_and_recordings(engines: FakeEngines, tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(SPEECH)
    async with running(engines) as work:
        assert work.facts is not None
        assert (work.facts.stt, work.facts.tts, work.facts.voices) == ("fake", "fake", ["tone"])
        assert samples(await gathered(work, TWO)) >= 2 * 24_000
        said, heard = await gathered(work, Recording(str(tmp_path / "x.wav")))
        assert isinstance(said, Said)
        assert said.text == "words"
        assert heard == Heard(3.0, "en")
        with pytest.raises(Refusal, match="file") as caught:
            await gathered(work, Recording(str(tmp_path / "log")))
        assert (caught.value.status, caught.value.param) == (400, "file")


async def test_its_priority_is_low(engines: FakeEngines) -> None:
    async with running(engines) as work:
        assert os.getpriority(os.PRIO_PROCESS, work.pid or 0) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)


async def test_many_jobs_at_once(engines: FakeEngines) -> None:
    async with running(engines) as work, asyncio.TaskGroup() as group:
        tasks = [group.create_task(gathered(work, TWO)) for _ in range(20)]
    assert {samples(task.result()) for task in tasks} == {samples(tasks[0].result())}


async def test_it_is_started_again_after_a_crash(engines: FakeEngines) -> None:
    async with running(engines) as work:
        with pytest.raises(Refusal) as caught:
            await gathered(work, Speech("crash", "pcm"))
        assert (caught.value.status, caught.value.code) == (503, "worker_unavailable")
        assert samples(await gathered(work, TWO)) >= 2 * 24_000
        assert work.n_starts == 2


async def test_it_is_started_again_when_it_is_killed(engines: FakeEngines) -> None:
    async with running(engines) as work:
        first = work.pid
        os.kill(first or 0, signal.SIGKILL)
        await until(lambda: work.facts is None)
        assert samples(await gathered(work, TWO)) >= 2 * 24_000
        assert work.pid != first


async def test_a_job_does_not_wait_for_ever_for_a_worker(engines: FakeEngines) -> None:
    async with running(engines, Patience(absent=0.05, backoff=30.0)) as work:
        os.kill(work.pid or 0, signal.SIGKILL)
        await until(lambda: work.facts is None)
        with pytest.raises(Refusal) as caught:
            await gathered(work, TWO)
        assert (caught.value.status, caught.value.headers) == (503, {"retry-after": "2"})


async def test_a_bug_ends_its_own_job_only(engines: FakeEngines) -> None:
    async with running(engines) as work:
        with pytest.raises(Refusal) as caught:
            await gathered(work, Speech("bug", "pcm"))
        assert (caught.value.status, caught.value.code) == (500, "internal_error")
        assert samples(await gathered(work, TWO)) >= 2 * 24_000
        assert work.n_starts == 1


async def test_a_piece_that_takes_too_long(engines: FakeEngines) -> None:
    engines.config = override(engines.config, {"serve.piece_s": 0.2})
    async with running(engines) as work:
        with pytest.raises(Refusal) as caught:
            await gathered(work, Speech("hang", "pcm"))
        assert (caught.value.status, caught.value.code) == (504, "timeout")
        await until(lambda: engines.count("cancelled") == 1)


async def test_a_worker_that_says_nothing_is_replaced(engines: FakeEngines) -> None:
    async with running(engines, Patience(silent=2.5, backoff=0.01)) as work:
        with pytest.raises(Refusal) as caught:
            await gathered(work, Speech("block", "pcm"))
        assert caught.value.code == "worker_unavailable"
        assert samples(await gathered(work, TWO)) >= 2 * 24_000


async def test_who_leaves_stops_the_work(engines: FakeEngines) -> None:
    async with running(engines) as work:
        async with aclosing(work.run(Speech("endless", "pcm"))) as news:
            await anext(news)
        await until(lambda: engines.count("cancelled") == 1)
        assert samples(await gathered(work, TWO)) >= 2 * 24_000


async def test_who_reads_slowly_slows_the_work(engines: FakeEngines) -> None:
    async with running(engines) as work, aclosing(work.run(Speech("endless", "pcm"))) as news:
        await anext(news)
        await gathered(work, TWO)  # so much time has passed that it would have made a thousand
        made = engines.count("chunk")
        await gathered(work, TWO)
        assert engines.count("chunk") == made + 2
        assert made <= 2 + AHEAD + 3  # those of the other job, those on their way, those in hands
        for _ in range(AHEAD):
            await anext(news)
        await until(lambda: engines.count("chunk") > made + 2)


async def test_what_cannot_start_says_why(engines: FakeEngines) -> None:
    engines.env["FAKE_STT"] = "missing"
    with pytest.raises(ConfigError, match="the model is not there: install it"):
        async with running(engines):
            pass
    wrong = override(engines.config, {"stt.engine": "none"})
    with pytest.raises(ConfigError, match="no engine named 'none'"):
        async with batch(wrong, QUICK, env=engines.env):
            pass


ORPHAN = """
import asyncio, os, sys
from voiceloop.config import Config, override
from voiceloop.server.batch import batch
async def main():
    config = override(Config(), {"stt.engine": "fake", "tts.engine": "fake"})
    async with batch(config) as work:
        print(work.pid, flush=True)
        os._exit(0)
asyncio.run(main())
"""


async def test_it_does_not_outlive_the_server(engines: FakeEngines) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ORPHAN, env=engines.env, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    pid = int(out)

    def gone() -> bool:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                return stat.read().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    await until(gone)


# --- taking turns, without a process ---


async def test_a_short_recording_does_not_wait_for_a_long_one(tmp_path: Path) -> None:
    (tmp_path / "long.wav").write_bytes(wav(script(120.0)))
    (tmp_path / "short.wav").write_bytes(wav(script(1.0)))
    engine = FakeTranscriber(delay_s=0.02)
    work = bench(engine)
    async with asyncio.TaskGroup() as group:
        long = group.create_task(gathered(work, Recording(str(tmp_path / "long.wav"))))
        await until(lambda: len(engine.heard) >= 2)
        await gathered(work, Recording(str(tmp_path / "short.wav")))
        assert not long.done()
        assert len(engine.heard) <= 8
