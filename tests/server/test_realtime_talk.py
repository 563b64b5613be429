"""Whole conversations over `/v1/realtime` with fake engines, on virtual time; each event's place is checked."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pytest

from tests.wire.realtime_order import Order
from voiceloop.adapters.audio.distant import DistantPort
from voiceloop.build import Assembled
from voiceloop.core.audio import Pcm
from voiceloop.core.policy import Policy
from voiceloop.errors import ProviderError
from voiceloop.ports import AudioPort, Handler, Manner, Transcriber, TurnView
from voiceloop.server.realtime_talk import Setting, Talk
from voiceloop.session.session import Parts
from voiceloop.testing import FakeHandler, FakeResampler, FakeSynthesizer, FakeTranscriber, FakeVad, script
from voiceloop.wire.realtime_session import RealtimeSession

pytestmark = pytest.mark.virtual

Json = dict[str, Any]
HZ = 24_000
STORY = "There was a king, and he had three daughters, and the youngest of them was so fair that all wondered."
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}


class Resampler:
    """By the nearest sample, between any two rates."""

    def __init__(self, source_hz: int, target_hz: int) -> None:
        self._rates = source_hz, target_hz
        self._taken = self._given = 0

    def process(self, pcm: Pcm) -> Pcm:
        source, target = self._rates
        self._taken += pcm.size
        n = self._taken * target // source - self._given
        self._given += n
        return pcm[(np.arange(n) * pcm.size // max(n, 1)).astype(np.int64)] if n else pcm[:0]

    def flush(self) -> Pcm:
        return np.zeros(0, np.int16)


class ToolHandler:
    """Asks for the weather, and says what it is told; anything else it repeats."""

    early = True

    async def warm_up(self) -> None: ...
    async def aclose(self) -> None: ...

    async def reply(self, turn: TurnView) -> AsyncGenerator[str, None]:
        assert turn.brief
        await asyncio.sleep(0.1)
        if turn.brief.results:
            yield f"It is {turn.brief.results[-1].output}."
        elif turn.brief.tools:
            yield "Let me see. "
            turn.call(turn.brief.tools[0].name, '{"city": "Rome"}', id="call_1")
        else:
            yield turn.text


@dataclass
class Client:
    """The other end of the wire."""

    order: Order = field(default_factory=Order)
    events: list[Json] = field(default_factory=list)
    closed: tuple[int, str] | None = None
    up: asyncio.Queue[str | bytes | None] = field(default_factory=asyncio.Queue)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    reads: bool = True

    async def receive(self) -> str | bytes | None:
        return await self.up.get()

    async def send(self, frame: str | bytes) -> None:
        if not self.reads:
            await asyncio.Event().wait()
        event = json.loads(frame)
        self.order.feed(event)
        self.events.append(event)
        self.news.set()

    async def close(self, code: int, reason: str) -> None:
        self.closed = code, reason

    def say(self, type: str, **fields: Any) -> None:
        self.up.put_nowait(json.dumps({"type": type, **fields}))

    def update(self, **session: Any) -> None:
        self.say("session.update", session=session)

    def append(self, pcm: Pcm) -> None:
        self.say("input_audio_buffer.append", audio=base64.b64encode(pcm.tobytes()).decode())

    async def talk(self, *parts: float, at_once: bool = False) -> None:
        """Seconds of sound and of silence, in pieces of 100 ms, by the clock or all at once."""
        pcm = Resampler(16_000, HZ).process(script(*parts))
        for at in range(0, pcm.size, HZ // 10):
            self.append(pcm[at : at + HZ // 10])
            if not at_once:
                await asyncio.sleep(0.1)

    async def wait(self, type: str, n: int = 1) -> Json:
        """The n-th event of a type."""
        async with asyncio.timeout(120):
            while len(found := self.of(type)) < n:
                self.news.clear()
                await self.news.wait()
        return found[n - 1]

    def of(self, type: str) -> list[Json]:
        return [event for event in self.events if event["type"] == type]

    def sound(self, response: str) -> Pcm:
        deltas = [e["delta"] for e in self.of("response.output_audio.delta") if e["response_id"] == response]
        return np.frombuffer(b"".join(base64.b64decode(delta) for delta in deltas), "<i2")

    async def retrieved(self, item: str) -> str:
        """The words of an item."""
        n = len(self.of("conversation.item.retrieved"))
        self.say("conversation.item.retrieve", item_id=item)
        return (await self.wait("conversation.item.retrieved", n + 1))["item"]["content"][0]["transcript"]

    def text(self, text: str) -> None:
        """A message of the user, to be answered."""
        content = [{"type": "input_text", "text": text}]
        self.say("conversation.item.create", item={"type": "message", "role": "user", "content": content})
        self.say("response.create")


def distant(out_hz: int) -> DistantPort:
    return DistantPort(Resampler, out_hz=out_hz)


@asynccontextmanager
async def connected(
    *,
    handler: Handler | None = None,
    transcriber: Transcriber | None = None,
    synthesizer: FakeSynthesizer | None = None,
    policy: Policy | None = None,
    limits: tuple[float, float] = (0, 0),
    fast: bool = False,
    session: RealtimeSession | None = None,
) -> AsyncGenerator[Client, None]:
    @asynccontextmanager
    async def assemble(port: AudioPort) -> AsyncGenerator[Assembled, None]:
        parts = Parts(
            port=port,
            vad=FakeVad(),
            transcriber=transcriber or FakeTranscriber(),
            handler=handler or FakeHandler(),
            synthesizer=synthesizer or FakeSynthesizer(rate=HZ),
            resampler=FakeResampler,
            policy=policy or Policy(),
        )
        yield Assembled(parts, {}, ())

    client = Client()
    talk = Talk(
        Setting(assemble, distant, Resampler, {}, fast=fast), session or RealtimeSession(), expires_at=99, beta=False
    )
    async with asyncio.TaskGroup() as group:
        running = group.create_task(talk.run(client, idle_s=limits[0], longest_s=limits[1]))
        await client.wait("session.created")
        yield client
        client.up.put_nowait(None)
        await asyncio.wait({running})
    if client.closed is None:
        assert not [made for made in client.order.active() if made.done]


async def test_a_spoken_turn() -> None:
    async with connected(transcriber=FakeTranscriber(["hello there"])) as client:
        client.update(audio={"input": {"transcription": {"model": "whisper-1"}}})
        await client.talk(-0.3, 1.0, -1.0)
        done = await client.wait("response.done")
    response = done["response"]
    assert response["status"] == "completed"
    (item,) = response["output"]
    assert item["content"] == [{"type": "output_audio", "transcript": "You said hello there."}]
    assert client.sound(response["id"]).size == round(len("You said hello there.") * 0.06 * HZ)
    words = client.of("conversation.item.input_audio_transcription.completed")[0]
    assert words["transcript"] == "hello there"
    start, stop = client.of("input_audio_buffer.speech_started")[0], client.of("input_audio_buffer.speech_stopped")[0]
    assert start["audio_start_ms"] == 0  # 300 ms of padding
    assert 1250 <= stop["audio_end_ms"] <= 1450
    client.order.over()


async def test_audio_a_hundred_times_faster_than_it_is_spoken() -> None:
    """All turn timing is audio time: two turns, whenever they come."""
    async with connected(transcriber=FakeTranscriber(["one", "two"])) as client:
        await client.talk(1.0, -2.0, 1.0, -2.0, at_once=True)
        await client.wait("input_audio_buffer.committed", 2)
        await client.wait("response.done")
    starts = [event["audio_start_ms"] for event in client.of("input_audio_buffer.speech_started")]
    assert starts[0] == 0
    assert 2600 <= starts[1] <= 2800


async def test_a_barge_in_and_what_was_heard() -> None:
    handler = FakeHandler({"a story": STORY, "stop it": "All right."})
    async with connected(
        transcriber=FakeTranscriber(["a story", "stop it", "stop it", "stop it"]), handler=handler
    ) as client:
        await client.talk(1.0, -1.0)
        await client.wait("response.output_audio.delta")
        first = (await client.wait("response.done"))["response"]
        (item,) = first["output"]
        assert (first["status"], item["content"][0]["transcript"]) == ("completed", STORY)  # sent, and not yet heard
        await client.talk(-2.0, 1.0, -1.5)
        assert len(client.of("input_audio_buffer.speech_started")) == 2
        heard = await client.retrieved(item["id"])
        assert 0 < len(heard) < len(STORY)
        assert STORY.startswith(heard)
        client.say("conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=900)
        await client.wait("conversation.item.truncated")
        shown = await client.retrieved(item["id"])
        assert heard.startswith(shown)
        assert 0 < len(shown) < len(heard)
        second = (await client.wait("response.done", 2))["response"]
        assert second["status"] == "completed"
        client.text("and now?")
        await client.wait("response.done", 3)
    said = [message.text for message in handler.asked[-1].history]
    assert said[-3:] == [shown, "stop it", "All right."]


async def test_a_barge_in_while_the_reply_is_made() -> None:
    """The response is not over, and ends with what was heard."""
    handler = FakeHandler({"a story": STORY, "stop it": "All right."}, word_s=0.4)
    ears = FakeTranscriber(["a story", "stop it", "stop it", "stop it"])
    async with connected(transcriber=ears, handler=handler) as client:
        await client.talk(1.0, -1.0)
        await client.wait("response.output_audio.delta")
        await client.talk(-0.5, 1.0, -1.5)
        first = (await client.wait("response.done"))["response"]
        assert (first["status"], first["status_details"]["reason"]) == ("cancelled", "turn_detected")
        (item,) = first["output"]
        assert item["status"] == "incomplete"
        heard = item["content"][0]["transcript"]
        assert 0 < len(heard) < len(STORY)
        assert STORY.startswith(heard)
        begun = client.events.index(client.of("input_audio_buffer.speech_started")[1])
        assert client.events[begun + 1]["type"] == "response.output_audio.done"
        await client.wait("response.done", 2)


async def test_truncated_and_cancelled_after_all_was_sent() -> None:
    """The client plays its buffer and stops by a button: nobody has spoken."""
    handler = FakeHandler({"a story": STORY})
    async with connected(handler=handler) as client:
        words: list[int] = []
        for n, stop in enumerate(("truncate", "cancel", "clear"), 1):
            client.text("a story")
            (item,) = (await client.wait("response.done", n))["response"]["output"]
            await asyncio.sleep(2)
            match stop:
                case "truncate":
                    client.say("conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=1000)
                case "cancel":
                    client.say("response.cancel")
                case _:
                    client.say("output_audio_buffer.clear")
            await asyncio.sleep(1)
            heard = await client.retrieved(item["id"])
            assert STORY.startswith(heard)
            words.append(len(heard.split()))
        assert 0 < words[0] < words[1] == words[2] < len(STORY.split())
        assert not client.of("error")
        client.text("and now?")
        await client.wait("response.done", 4)
    assert [len(m.text.split()) for m in handler.asked[-1].history if m.role == "assistant"] == words


async def test_the_next_response_does_not_wait_until_the_last_is_heard() -> None:
    async with connected(handler=FakeHandler({"a story": STORY, "more": STORY})) as client:
        client.text("a story")
        first = (await client.wait("response.done"))["response"]
        client.text("more")
        second = (await client.wait("response.done", 2))["response"]
        began = asyncio.get_running_loop().time()
        assert client.sound(first["id"]).size == client.sound(second["id"]).size > 5 * HZ
        assert asyncio.get_running_loop().time() - began < 1
        await asyncio.sleep(8)  # the client is in the middle of the second
        item = second["output"][0]["id"]
        client.say("response.cancel")
        await asyncio.sleep(1)
        assert 0 < len(await client.retrieved(item)) < len(STORY)
        assert await client.retrieved(first["output"][0]["id"]) == STORY
        client.text("and now?")
        third = (await client.wait("response.done", 3))["response"]
    assert client.sound(third["id"]).size == round(len("You said and now?.") * 0.06 * HZ)  # nothing of the others


async def test_a_noise_over_the_reply_does_not_stop_it() -> None:
    voice = FakeSynthesizer(rate=HZ)
    ears, mind = FakeTranscriber(["a story", "", "", ""]), FakeHandler({"a story": STORY})
    async with connected(transcriber=ears, handler=mind, synthesizer=voice) as client:
        await client.talk(1.0, -1.0)
        await client.wait("response.output_audio.delta")
        await client.talk(-1.0, 0.3, -3.0)
        done = (await client.wait("response.done"))["response"]
    assert done["status"] == "completed"
    assert len(client.of("input_audio_buffer.speech_started")) == 1
    assert client.sound(done["id"]).size == round(len("".join(voice.spoken)) * 0.06 * HZ)  # nothing twice, nothing lost


async def test_at_once() -> None:
    """The setting `fast`: whatever is loud stops the reply, before it is known what it is."""
    handler = FakeHandler({"a story": STORY})
    async with connected(transcriber=FakeTranscriber(["a story", "", ""]), handler=handler, fast=True) as client:
        await client.talk(1.0, -1.0)
        await client.wait("response.output_audio.delta")
        await client.talk(-1.0, 0.3, -1.0)
        assert len(client.of("input_audio_buffer.speech_started")) == 2
        (item,) = client.of("response.done")[0]["response"]["output"]
        assert 0 < len(await client.retrieved(item["id"])) < len(STORY)


async def test_text_is_answered_aloud_and_in_text() -> None:
    handler = FakeHandler({"hello": "Good day."})
    async with connected(handler=handler) as client:
        client.text("hello")
        spoken = (await client.wait("response.done"))["response"]
        assert spoken["output"][0]["content"] == [{"type": "output_audio", "transcript": "Good day."}]
        client.update(output_modalities=["text"])
        client.text("hello")
        written = (await client.wait("response.done", 2))["response"]
        assert written["output"][0]["content"] == [{"type": "output_text", "text": "Good day. "}]
    assert client.sound(written["id"]).size == 0


async def test_a_spoken_turn_answered_in_text() -> None:
    async with connected(transcriber=FakeTranscriber(["hello"])) as client:
        client.update(output_modalities=["text"])
        await client.talk(1.0, -1.0)
        done = (await client.wait("response.done"))["response"]
    assert done["output"][0]["content"] == [{"type": "output_text", "text": "You said hello. "}]
    assert len(client.of("response.created")) == 1


async def test_a_turn_of_the_clients_own() -> None:
    transcriber = FakeTranscriber(["push to talk"])
    async with connected(transcriber=transcriber) as client:
        client.update(audio={"input": {"turn_detection": None}})
        await client.talk(1.0, -2.0, 0.5)
        assert not client.of("input_audio_buffer.committed")
        client.say("input_audio_buffer.commit")
        client.say("response.create")
        done = (await client.wait("response.done"))["response"]
    assert done["output"][0]["content"][0]["transcript"] == "You said push to talk."
    assert transcriber.heard == [3.5]


async def test_a_long_message_is_understood_in_pieces() -> None:
    transcriber = FakeTranscriber(["one", "two", "three"], longest=16_000 * 2)
    async with connected(transcriber=transcriber) as client:
        client.update(audio={"input": {"turn_detection": None, "transcription": {"model": "x"}}})
        await client.talk(5.0)
        client.say("input_audio_buffer.commit")
        words = await client.wait("conversation.item.input_audio_transcription.completed")
    assert words["transcript"].startswith("one two three")


async def test_words_that_cannot_be_found() -> None:
    wrong = ProviderError("The recognizer is away.", stage="stt")
    async with connected(transcriber=FakeTranscriber([wrong, wrong, wrong, wrong])) as client:
        client.update(audio={"input": {"turn_detection": None, "transcription": {"model": "x"}}})
        await client.talk(0.5)
        client.say("input_audio_buffer.commit")
        failed = await client.wait("conversation.item.input_audio_transcription.failed")
        assert failed["error"]["message"] == "The recognizer is away."
        client.update(audio={"input": {"turn_detection": {"type": "server_vad"}}})
        await client.talk(1.0, -1.5)
        await client.wait("conversation.item.input_audio_transcription.failed", 2)


async def test_a_function_is_called() -> None:
    async with connected(transcriber=FakeTranscriber(["how is the weather"]), handler=ToolHandler()) as client:
        client.update(tools=[TOOL])
        await client.talk(1.0, -1.0)
        first = (await client.wait("response.done"))["response"]
        message, call = first["output"]
        assert message["content"][0]["transcript"] == "Let me see."
        assert (call["type"], call["name"], call["call_id"]) == ("function_call", "weather", "call_1")
        assert json.loads(call["arguments"]) == {"city": "Rome"}
        item = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
        client.say("conversation.item.create", item=item)
        client.say("response.create")
        second = (await client.wait("response.done", 2))["response"]
    assert second["output"][0]["content"][0]["transcript"] == "It is sunny."


TOPIC = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "which topic?"}]}
ASIDE = {"conversation": "none", "metadata": {"for": "me"}, "input": [TOPIC]}


async def test_out_of_band_while_it_speaks() -> None:
    handler = FakeHandler({"a story": STORY, "which topic?": "tales"}, word_s=0.2)
    async with connected(transcriber=FakeTranscriber(["a story"]), handler=handler) as client:
        await client.talk(1.0, -1.0)
        await client.wait("response.output_audio.delta")
        client.say("response.create", response={**ASIDE, "output_modalities": ["text"]})
        aside = (await client.wait("response.done"))["response"]
        assert (aside["metadata"], aside["output"][0]["content"][0]["text"]) == ({"for": "me"}, "tales ")
        assert (await client.wait("response.done", 2))["response"]["status"] == "completed"


async def test_out_of_band_and_aloud_while_it_speaks() -> None:
    """Its audio comes while the story is told; neither stops or holds the other, and only one is remembered."""
    handler = FakeHandler({"a story": STORY, "which topic?": "It is about tales. And about kings."}, word_s=0.2)
    voice = FakeSynthesizer(rate=HZ)
    ears = FakeTranscriber(["a story"])
    async with connected(transcriber=ears, handler=handler, synthesizer=voice) as client:
        await client.talk(1.0, -1.0)
        await client.wait("response.output_audio.delta")
        client.say("response.create", response=ASIDE)
        aside = (await client.wait("response.done"))["response"]
        assert (aside["metadata"], aside["conversation_id"], aside["status"]) == ({"for": "me"}, None, "completed")
        said = "It is about tales. And about kings."
        assert aside["output"][0]["content"] == [{"type": "output_audio", "transcript": said}]
        assert client.sound(aside["id"]).size == round((len(said) - 1) * 0.06 * HZ)
        told = (await client.wait("response.done", 2))["response"]
        assert (told["status"], told["output"][0]["content"][0]["transcript"]) == ("completed", STORY)
        assert (
            client.sound(told["id"]).size
            == round(sum(map(len, voice.spoken)) * 0.06 * HZ) - client.sound(aside["id"]).size
        )
        client.text("and now?")
        await client.wait("response.done", 3)
    assert "tales" not in str(handler.asked[-1].history)
    assert not client.of("error")


async def test_out_of_band_goes_on_when_the_reply_is_interrupted() -> None:
    handler = FakeHandler({"a story": STORY, "which topic?": "It is about tales."}, word_s=0.5)
    async with connected(handler=handler) as client:
        client.text("a story")
        await client.wait("response.output_audio.delta")
        client.say("response.create", response=ASIDE)
        await asyncio.sleep(0.3)
        client.say("response.cancel")
        assert (await client.wait("response.done"))["response"]["status"] == "cancelled"
        aside = (await client.wait("response.done", 2))["response"]
        assert aside["output"][0]["content"][0]["transcript"] == "It is about tales."


async def test_a_voice_and_a_format_for_one_response() -> None:
    class Choir(FakeSynthesizer):
        manners: ClassVar[list[Manner | None]] = []

        def speak(self, text: str, manner: Manner | None = None) -> AsyncGenerator[Pcm, None]:
            self.manners.append(manner)
            return super().speak(text)

    choir = Choir(rate=HZ)
    audio = {"output": {"voice": "tone", "format": {"type": "audio/pcmu"}}}
    async with connected(synthesizer=choir) as client:
        client.say("response.create", response={"audio": audio})
        await client.wait("response.done")
        client.say("response.create", response={**ASIDE, "audio": audio})
        await client.wait("response.done", 2)
        client.text("hello")
        await client.wait("response.done", 3)
    assert [m and m.voice for m in choir.manners] == ["tone", "tone", None]
    sizes = [
        sum(
            len(base64.b64decode(e["delta"]))
            for e in client.of("response.output_audio.delta")
            if e["response_id"] == id
        )
        for id in [e["response"]["id"] for e in client.of("response.done")]
    ]
    seconds = [len(text) * 0.06 for text in choir.spoken]
    assert sizes[:2] == pytest.approx([8000 * s for s in seconds[:2]], abs=5)
    assert sizes[2] == round(48_000 * seconds[2])


async def test_out_of_band_and_cancelled() -> None:
    class Endless(FakeSynthesizer):
        async def speak(self, text: str, manner: Manner | None = None) -> AsyncGenerator[Pcm, None]:
            while True:
                yield np.ones(HZ // 10, np.int16)
                await asyncio.sleep(0.1)

    async with connected(synthesizer=Endless(rate=HZ)) as client:
        client.say("response.create", response=ASIDE)
        first = (await client.wait("response.created"))["response"]
        await client.wait("response.output_audio.delta", 5)
        client.say("response.cancel", response_id=first["id"])
        assert (await client.wait("response.done"))["response"]["status"] == "cancelled"
        client.say("response.create", response=ASIDE)
        await asyncio.sleep(400)
        failed = (await client.wait("response.done", 2))["response"]
        assert failed["status_details"]["error"]["message"] == "Speech synthesis does not come to an end."


async def test_what_a_response_used() -> None:
    """Audio by OpenAI's rates: 10 tokens a second of the user, 20 of the assistant."""
    async with connected(transcriber=FakeTranscriber(["hello there"])) as client:
        client.update(instructions="Be brief.")
        await client.talk(-0.3, 1.0, -1.0)
        used = (await client.wait("response.done"))["response"]["usage"]
    spoken_s = (
        client.of("input_audio_buffer.speech_stopped")[0]["audio_end_ms"]
        - client.of("input_audio_buffer.speech_started")[0]["audio_start_ms"]
    ) / 1000
    read, made = used["input_token_details"], used["output_token_details"]
    assert read["audio_tokens"] == pytest.approx(10 * spoken_s, abs=1)
    assert read["text_tokens"] == 3
    assert made["audio_tokens"] == pytest.approx(20 * len("You said hello there.") * 0.06, abs=1)
    assert made["text_tokens"] == 6
    assert used["input_tokens"] == read["audio_tokens"] + read["text_tokens"]
    assert used["total_tokens"] == used["input_tokens"] + used["output_tokens"]


async def test_cancelled_by_the_client() -> None:
    handler = FakeHandler({"a story": STORY}, word_s=0.4)
    async with connected(transcriber=FakeTranscriber(["a story"]), handler=handler) as client:
        await client.talk(1.0, -1.0)
        await client.wait("response.output_audio.delta")
        await asyncio.sleep(0.5)
        client.say("response.cancel")
        done = (await client.wait("response.done"))["response"]
        assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
        n = client.sound(done["id"]).size
        await asyncio.sleep(5)
        assert client.sound(done["id"]).size == n
        assert not client.of("error")


async def test_cancelled_before_there_is_anything() -> None:
    async with connected(handler=FakeHandler(delay_s=10)) as client:
        client.text("hello")
        await client.wait("response.created")
        client.say("response.cancel")
        done = (await client.wait("response.done"))["response"]
    assert (done["status"], done["output"]) == ("cancelled", [])


async def test_no_more_tokens_than_asked_for() -> None:
    async with connected(handler=FakeHandler({"a story": STORY})) as client:
        client.update(max_output_tokens=4)
        client.text("a story")
        done = (await client.wait("response.done"))["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("incomplete", "max_output_tokens")
    assert done["output"][0]["content"][0]["transcript"] == STORY[:24].strip()


async def test_a_handler_that_fails() -> None:
    broken = ProviderError("The service is down.", stage="handler")
    async with connected(handler=FakeHandler({"hello": broken})) as client:
        client.text("hello")
        done = (await client.wait("response.done"))["response"]
        assert done["status_details"]["error"]["message"] == "The service is down."
        client.text("again")
        assert (await client.wait("response.done", 2))["response"]["status"] == "completed"


async def test_still_there() -> None:
    async with connected(transcriber=FakeTranscriber(["hello"])) as client:
        client.update(audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 6000}}})
        await client.talk(1.0, -1.0)
        await client.wait("response.done")
        await client.talk(-8.0)
        await client.wait("input_audio_buffer.timeout_triggered")
        done = (await client.wait("response.done", 2))["response"]
    assert done["output"][0]["content"][0]["transcript"] == "Are you still there?"


async def test_an_engine_that_gives_whole_sentences() -> None:
    """More at once than the port queues, and less than it sends ahead: it once stood still there."""

    class Sentences(FakeSynthesizer):
        async def speak(self, text: str, manner: Manner | None = None) -> AsyncGenerator[Pcm, None]:
            yield np.concatenate([pcm async for pcm in super().speak(text)])

    async with connected(handler=FakeHandler({"a story": STORY}), synthesizer=Sentences(rate=HZ)) as client:
        client.text("a story")
        done = (await client.wait("response.done"))["response"]
    assert done["output"][0]["content"][0]["transcript"] == STORY


async def test_telephone_sound() -> None:
    async with connected() as client:
        client.update(audio={"output": {"format": {"type": "audio/pcmu"}}})
        client.text("hello")
        done = (await client.wait("response.done"))["response"]
    deltas = [base64.b64decode(event["delta"]) for event in client.of("response.output_audio.delta")]
    assert sum(map(len, deltas)) == pytest.approx(len("You said hello.") * 0.06 * 8000, abs=5)
    assert done["audio"]["output"]["format"] == {"type": "audio/pcmu"}


async def test_frames_that_are_no_text() -> None:
    async with connected() as client:
        client.up.put_nowait(b"\x00\x01")
        client.up.put_nowait("no json")
        await client.wait("error", 2)
        client.text("still there?")
        await client.wait("response.done")


async def test_nobody_speaks_for_too_long() -> None:
    async with connected(limits=(5, 0)) as client:
        await asyncio.sleep(7)
        assert client.closed
        assert client.closed[0] == 4004


async def test_it_takes_too_long() -> None:
    async with connected(limits=(0, 30)) as client:
        await client.talk(1.0, -32.0)
        assert client.closed
        assert client.closed[0] == 4005


async def test_a_client_that_does_not_read() -> None:
    async with connected() as client:
        client.reads = False
        client.update(instructions="x")
        await asyncio.sleep(20)
        assert client.closed
        assert client.closed[0] == 4003


async def test_an_engine_that_cannot_be_had() -> None:
    class Broken(FakeHandler):
        pass

    client = Client()

    @asynccontextmanager
    async def assemble(port: AudioPort) -> AsyncGenerator[Assembled, None]:
        raise ProviderError("There is no handler.", stage="handler")
        yield

    await Talk(Setting(assemble, distant, Resampler, {}), RealtimeSession(), expires_at=9, beta=False).run(client)
    assert client.closed == (1011, "The session has failed.")
