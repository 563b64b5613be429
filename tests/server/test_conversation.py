"""Conversations over connections that come and go, on virtual time, with a page that plays what it is sent."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from voiceloop.build import Assembled
from voiceloop.core.audio import FRAME, RATE, Pcm
from voiceloop.core.policy import Policy
from voiceloop.ports import AudioPort
from voiceloop.server.bridge import Conversations, Limits, conversations
from voiceloop.server.conversation import Conversation
from voiceloop.server.wires import Closing
from voiceloop.session.session import Parts
from voiceloop.testing import FakeHandler, FakeResampler, FakeSynthesizer, FakeTranscriber, FakeVad, script
from voiceloop.wire import bridge

pytestmark = pytest.mark.virtual

HZ = 24_000
STORY = "There was a king, and he had three daughters, and the youngest of them was so fair that all wondered."
HELLO = bridge.Start(reports=True)


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Page:
    """The other end of a connection: it sends frames in real time, plays what comes, and reports it, as a page does."""

    reports: bool = True
    down: list[dict[str, Any]] = field(default_factory=list)
    sound: dict[int, dict[int, Pcm]] = field(default_factory=dict)
    closed: tuple[int, str] | None = None
    up: asyncio.Queue[str | bytes | None] = field(default_factory=asyncio.Queue)
    cut: bool = False
    still: bool = False
    free: asyncio.Event = field(default_factory=asyncio.Event)
    at: tuple[int, int] = (0, 0)
    played: dict[int, int] = field(default_factory=dict)
    buffer: list[tuple[int, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.free.set()

    async def receive(self) -> str | bytes | None:
        return await self.up.get()

    def shortcut(self, take: Callable[[bytes], bool]) -> None:
        """Frames take the long way."""

    async def send(self, frame: str | bytes) -> None:
        if self.cut:
            raise ConnectionError
        await self.free.wait()
        if isinstance(frame, bytes):
            reply, start = self.at
            pcm = np.frombuffer(frame, "<i2")
            self.sound.setdefault(reply, {})[start] = pcm
            self.buffer.append((reply, start, pcm.size))
            self.at = reply, start + pcm.size
            return
        message = json.loads(frame)
        self.down.append(message | {"when": now()})
        if message["type"] == "audio":
            self.at = message["reply"], message["from"]
        if message["type"] == "clear":
            self.buffer.clear()
            self.report()

    async def close(self, code: int, reason: str) -> None:
        self.closed = code, reason

    # what the page does by itself

    async def play(self) -> None:
        """20 ms of the buffer each 20 ms; a report every 200 ms."""
        n = 0
        while True:
            await asyncio.sleep(0.02)
            room, n = HZ // 50, n + 1
            while room and self.buffer:
                reply, start, size = self.buffer.pop(0)
                taken = min(size, room)
                self.played[reply] = start + taken
                room -= taken
                if taken < size:
                    self.buffer.insert(0, (reply, start + taken, size - taken))
            if n % 10 == 0:
                self.report()

    def report(self) -> None:
        if self.reports and not self.cut and not self.still:
            for reply, samples in self.played.items():
                self.tell("played", reply=reply, samples=samples)

    def tell(self, kind: str, **fields: Any) -> None:
        self.up.put_nowait(json.dumps({"type": kind, **fields}))

    async def speak(self, *parts: float, fast: bool = False) -> None:
        """Seconds of speech, or below zero of silence."""
        pcm = script(*parts)
        for at in range(0, pcm.size, FRAME):
            self.up.put_nowait(pcm[at : at + FRAME].astype("<i2").tobytes())
            await asyncio.sleep(0 if fast else 0.02)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.down if message["type"] == kind]

    async def until(self, kind: str, **fields: Any) -> dict[str, Any]:
        for _ in range(3000):
            for message in self.down:
                if message["type"] == kind and fields.items() <= message.items():
                    return message
            await asyncio.sleep(0.01)
        raise AssertionError(f"no {kind} {fields} in {self.down}")


class House:
    """A server's conversations with engines that are quick."""

    def __init__(self, *words: str, story: str = STORY, **policy: Any) -> None:
        self.words = list(words) or ["tell me a story", "what time is it", "and now"]
        self.story = story
        self.policy = Policy(back="", **policy)

    @asynccontextmanager
    async def assemble(self, port: AudioPort) -> AsyncGenerator[Assembled, None]:
        parts = Parts(
            port, FakeVad(), FakeTranscriber(self.words), FakeHandler({"tell me a story": self.story}),
            FakeSynthesizer(), FakeResampler, policy=self.policy,
        )  # fmt: skip
        yield Assembled(parts, {}, ("A notice.",))


@asynccontextmanager
async def served(house: House | None = None, **limits: Any) -> AsyncGenerator[Conversations, None]:
    async with conversations((house or House()).assemble, Limits(**limits)) as known:
        yield known


@asynccontextmanager
async def connected(found: Conversation, page: Page, resume: bridge.Resume | None = None) -> AsyncGenerator[Page, None]:
    """A page on a conversation, until it hangs up."""
    async with asyncio.TaskGroup() as group:
        playing = group.create_task(page.play())
        attending = group.create_task(found.attend(page, resume))
        try:
            yield page
        finally:
            page.cut = True
            page.up.put_nowait(None)
            await asyncio.wait({attending})
            playing.cancel()


async def test_a_spoken_question_is_answered_word_for_word() -> None:
    async with served() as known, connected(known.begin(HELLO, "me"), Page()) as page:
        ready = await page.until("ready")
        assert (ready["sample_rate"], ready["agent_sample_rate"]) == (16_000, 24_000)
        assert page.of("notice")[0]["text"] == "A notice."
        await page.speak(-0.5, 1.0, -10)
        end = await page.until("audio_end")
        assert (end["heard"], end["ending"]) == (STORY, "completed")
        assert page.of("transcript")[0]["text"] == "tell me a story"
        assert {m["role"] for m in page.of("transcript")[1:]} == {"assistant"}
        assert sum(pcm.size for pcm in page.sound[end["reply"]].values()) == end["samples"]
        caption = page.of("caption")[-1]
        assert " ".join(word for word, _ in caption["words"]) == STORY
        assert caption["words"][-1][1] == end["samples"]
        assert [m["state"] for m in page.of("state")][:3] == ["hearing", "thinking", "speaking"]
        assert page.of("latency")
        assert page.of("ack")[-1]["mic"] > 5 * 16_000


@pytest.mark.parametrize("reports", [True, False])
async def test_a_barge_in_clears_and_what_was_heard_is_known(reports: bool) -> None:
    async with served() as known:
        page = Page(reports=reports)
        async with connected(known.begin(bridge.Start(reports=reports), "me"), page):
            await page.speak(-0.5, 1.0, -3.0)
            await page.speak(1.2, -6.0)
            first = await page.until("audio_end", ending="interrupted")
            await page.until("audio_end", ending="completed")
            assert first["when"] - page.of("clear")[0]["when"] < 1.5
            assert STORY.startswith(first["heard"])
            assert 5 < len(first["heard"]) < len(STORY)
            reply = first["reply"]
            last = [m for m in page.of("audio_end") if m["reply"] == reply][-1]
            spoken = [m for m in page.of("caption") if m["reply"] == reply][-1]["words"]
            heard = [word for word, end in spoken if end <= page.played[reply]]
            assert abs(len(last["heard"].split()) - len(heard)) <= 1


async def test_a_connection_that_is_cut_in_mid_sentence_costs_no_word() -> None:
    """The person goes on speaking; what he says comes when there is a connection again, and is one turn."""
    async with served() as known:
        found, page = known.begin(HELLO, "me"), Page()
        async with connected(found, page):
            await page.until("ready")
            await page.speak(-0.5, 1.0)
        heard = found.port.n_heard
        await asyncio.sleep(3)
        again = Page()
        async with connected(found, again, bridge.Resume(found.token, heard + 3 * 16_000)):
            assert (await again.until("resumed"))["mic"] == heard
            await again.speak(1.5, -1.5, fast=True)
            await again.speak(-8.0)
            end = await again.until("audio_end", ending="completed")
            assert end["heard"] == STORY
            assert [m["text"] for m in again.of("transcript") if m["role"] == "user"] == ["tell me a story"]


async def test_only_what_was_not_played_is_sent_again() -> None:
    async with served() as known:
        found, page = known.begin(HELLO, "me"), Page()
        async with connected(found, page):
            await page.speak(-0.5, 1.0, -3.0)
        (reply,) = page.sound
        played = page.played[reply]
        await asyncio.sleep(3)
        again = Page()
        async with connected(found, again, bridge.Resume(found.token, found.port.n_heard, {str(reply): played})):
            await again.speak(-10.0)
            end = await again.until("audio_end", ending="completed")
        assert min(again.sound[reply]) == played
        pcm = {**page.sound[reply], **again.sound[reply]}
        assert max(start + p.size for start, p in pcm.items()) == end["samples"]
        assert end["heard"] == STORY


async def test_a_line_that_stands_still_costs_nothing() -> None:
    """Wi-Fi that is gone without a word: nothing is sent into the void, and what was is sent again."""
    async with served() as known:
        found, page = known.begin(HELLO, "me"), Page()
        async with connected(found, page):
            await page.speak(-0.5, 1.0, -3.0)
            (reply,) = page.sound
            page.still = True
            await asyncio.sleep(6)
            lost = [m for m in page.of("audio_end")]
            assert not lost, "it was taken for heard"
            page.still = False
            page.buffer.clear()  # what was on its way never came
            await page.speak(-12.0)
            end = await page.until("audio_end", ending="completed")
        assert end["heard"] == STORY
        assert page.played[reply] == end["samples"]


async def test_what_was_told_just_before_the_cut_is_told_again() -> None:
    async with served() as known:
        found, page = known.begin(HELLO, "me"), Page()
        async with connected(found, page):
            await page.speak(-0.5, 1.0, -2.0)
        again = Page()
        async with connected(found, again, bridge.Resume(found.token, found.port.n_heard)):
            await again.until("transcript", role="user", text="tell me a story")


async def test_the_newer_connection_wins() -> None:
    async with served() as known:
        found, page, newer = known.begin(HELLO, "me"), Page(), Page()
        async with connected(found, page):
            await page.until("ready")
            async with connected(found, newer, bridge.Resume(found.token)):
                await newer.until("resumed")
                assert page.closed == (bridge.REPLACED, "A newer connection took over.")
                newer.tell("text", text="hi")
                await newer.until("audio_end", ending="completed")
                assert newer.closed is None


async def test_nobody_comes_back() -> None:
    async with served(keep_s=5.0) as known:
        found, page = known.begin(HELLO, "me"), Page()
        async with connected(found, page):
            await page.until("ready")
        await asyncio.sleep(3)
        assert known.again(found.token, "me") is found
        await asyncio.sleep(4)
        assert known.n == 0
        with pytest.raises(Closing) as why:
            known.again(found.token, "me")
        assert why.value.code == bridge.POLICY


async def test_another_cannot_take_it_over() -> None:
    async with served() as known:
        found = known.begin(HELLO, "me")
        for token, peer in ((found.token, "you"), ("guessed", "me")):
            with pytest.raises(Closing):
                known.again(token, peer)


async def test_places_are_limited() -> None:
    async with served(sessions=3, per_peer=2) as known:
        known.begin(HELLO, "me")
        known.begin(HELLO, "me")
        with pytest.raises(Closing) as why:
            known.begin(HELLO, "me")
        assert why.value.code == bridge.AGAIN_LATER
        known.begin(HELLO, "you")
        with pytest.raises(Closing) as why:
            known.begin(HELLO, "they")
        assert why.value.code == bridge.AGAIN_LATER
        known.stop()
        await asyncio.sleep(0.1)
        assert known.places.n == 0


@pytest.mark.parametrize(
    ("limits", "code"), [({"idle_s": 5.0}, bridge.IDLE), ({"longest_s": 8.0}, bridge.OVER)], ids=["idle", "long"]
)
async def test_a_session_ends_when_it_took_long_enough(limits, code) -> None:
    async with served(**limits) as known:
        page = Page()
        async with connected(known.begin(HELLO, "me"), page):
            await page.speak(-12.0)
        assert page.closed is not None
        assert page.closed[0] == code


async def test_the_peer_may_end_it() -> None:
    async with served() as known, connected(known.begin(HELLO, "me"), Page()) as page:
        await page.until("ready")
        page.tell("end")
        await asyncio.sleep(1)
        assert page.closed == (bridge.NORMAL, "The session has ended.")
        assert known.n == 0


async def test_the_server_may_stop() -> None:
    page = Page()
    async with asyncio.TaskGroup() as group, served() as known:
        group.create_task(known.begin(HELLO, "me").attend(page))
        await page.until("ready")
    assert page.closed == (bridge.GOING, "The server stops.")


async def test_nonsense_is_answered_and_ends_in_the_end() -> None:
    async with served() as known, connected(known.begin(HELLO, "me"), Page()) as page:
        await page.until("ready")
        page.up.put_nowait(b"\x00\x01\x02")
        page.up.put_nowait("{")
        page.tell("start")
        page.tell("of tomorrow")
        await asyncio.sleep(0.1)
        assert [m["fatal"] for m in page.of("error")] == [False] * 3
        for _ in range(10):
            page.up.put_nowait("nonsense")
        await asyncio.sleep(0.1)
        assert page.closed is not None
        assert page.closed[0] == bridge.UNREADABLE


@pytest.mark.parametrize("frame", [b"\x00" * 65_538, " " * 65_538], ids=["sound", "text"])
async def test_a_frame_that_is_too_large(frame) -> None:
    async with served() as known, connected(known.begin(HELLO, "me"), Page()) as page:
        page.up.put_nowait(frame)
        await asyncio.sleep(0.1)
        assert page.closed is not None
        assert page.closed[0] == bridge.TOO_BIG


async def test_who_does_not_read_is_dropped() -> None:
    async with served() as known, connected(known.begin(HELLO, "me"), Page()) as page:
        await page.until("ready")
        page.free.clear()
        page.tell("text", text="tell me a story")
        await asyncio.sleep(15)
        page.free.set()
        assert page.closed is not None
        assert page.closed[0] == bridge.SLOW


async def test_who_sends_a_hundred_times_too_fast_is_read_slower() -> None:
    async with served() as known:
        found, page = known.begin(HELLO, "me"), Page()
        async with connected(found, page):
            for _ in range(400):
                page.up.put_nowait(b"\x00" * 32_000)  # 1 s
            await asyncio.sleep(10)
            assert found.port.n_heard / 16_000 <= 40 + 2 * 10 + 2


async def test_controls() -> None:
    async with served() as known, connected(known.begin(HELLO, "me"), Page()) as page:
        await page.until("ready")
        page.tell("mute")
        await page.until("muted", on=True)
        page.tell("mute", on=False)
        await page.until("muted", on=False)
        page.tell("text", text="tell me a story")
        await page.until("state", state="speaking")
        page.tell("volume", volume=0.5)
        page.tell("echo", likeness=0.9)
        page.tell("interrupt")
        await page.until("audio_end", ending="interrupted")
        page.tell("push_to_talk", down=True)
        await page.speak(0.8)
        page.tell("push_to_talk", down=False)
        page.tell("commit")
        await page.until("audio_end", ending="completed")
        assert any("headphones" in m["text"] for m in page.of("notice"))


@pytest.mark.parametrize("at", [0.4 * n for n in range(1, 21)])
async def test_a_connection_that_is_cut_anywhere_costs_nothing(at: float) -> None:
    """In every state of a turn: waiting, hearing, thinking, speaking, and after it."""
    mic, begun = script(-0.5, 1.0, -30.0), now()

    def recorded() -> int:
        return min(mic.size, int((now() - begun) * RATE) // FRAME * FRAME)

    async def send(page: Page, sent: int, until: float) -> None:
        while now() < until:
            page.up.put_nowait(mic[sent : recorded()].astype("<i2").tobytes())
            sent = recorded()
            await asyncio.sleep(0.02)

    async with served() as known:
        found, page, again = known.begin(HELLO, "me"), Page(), Page()
        async with connected(found, page):
            await send(page, 0, begun + at)
        await asyncio.sleep(2)
        played = {str(reply): n for reply, n in page.played.items()}
        async with connected(found, again, bridge.Resume(found.token, recorded(), played)):
            await send(again, (await again.until("resumed"))["mic"], begun + 20)
    down = page.down + again.down
    assert {(m["turn"], m["text"]) for m in down if m.get("role") == "user"} == {(1, "tell me a story")}
    (end,) = {m["reply"]: m for m in down if m["type"] == "audio_end"}.values()
    assert (end["ending"], end["heard"]) == ("completed", STORY)
    reply = end["reply"]
    assert max(page.played.get(reply, 0), again.played.get(reply, 0)) == end["samples"]
    assert min(again.sound.get(reply, {0: 0})) <= page.played.get(reply, 0), "nothing between was left out"


async def test_five_hundred_come_and_go() -> None:
    kept = list[weakref.ref[Conversation]]()

    async def one(known: Conversations, n: int) -> None:
        found, page = known.begin(HELLO, "me"), Page()
        kept.append(weakref.ref(found))
        async with connected(found, page):
            await page.until("ready")
            if n % 3:
                page.tell("text", text="tell me a story")
            if n % 3 == 2:
                await page.until("audio")
            if n % 2:
                page.tell("end")
                await asyncio.sleep(0.1)

    async with served() as known:
        tasks = len(asyncio.all_tasks())
        for n in range(500):
            await one(known, n)
        await asyncio.sleep(Limits().keep_s + 1)
        assert (known.n, known.places.n) == (0, 0)
        assert len(asyncio.all_tasks()) == tasks
    gc.collect()
    assert not [each for each in kept if each() is not None]
