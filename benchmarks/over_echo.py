"""Sessions in a simulated room on virtual time: a reply through an echo path, and perhaps somebody over it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace

import numpy as np
from engines import Inline, Recognizer, Transcriber, silero_engine

from voiceloop import build
from voiceloop.adapters.audio.room import EchoPath, Noise, Room, RoomPort, speech_db
from voiceloop.adapters.echo.aec3 import Aec3
from voiceloop.adapters.tts.hibari import Hibari
from voiceloop.config import load_config, override
from voiceloop.core import events as ev
from voiceloop.core.audio import FRAME, RATE, Pcm, silence, ticks
from voiceloop.ports import Manner, TurnView
from voiceloop.session.session import Parts, Session
from voiceloop.testing import VirtualLoop

NOISE_DB = -70.0
"""A quiet room."""

_AFTER = ticks(2.5)
"""After the last sound: what is still to be decided, is."""

SENTENCES = (
    "There was once a lighthouse keeper who lived alone on a small rock in the sea.",
    "Every evening he climbed the stairs, lit the lamp, and wrote the weather into a big book.",
    "One stormy night the lamp would not burn, and he had to think of something else.",
    "You can take the seven fifteen train from platform four, which arrives shortly before nine.",
    "The recipe needs two eggs, a cup of flour, some butter, and a pinch of salt.",
    "It will be cloudy in the morning, with a little rain towards the evening.",
    "Your next appointment is on Thursday at half past three, with the dentist in Park Road.",
    "I have added milk, bread and apples to your shopping list.",
    "The river rises in the mountains, crosses four countries, and reaches the sea after two thousand miles.",
    "Please press the left button for five seconds, until the green light begins to flash.",
    "A kilometre is about five eighths of a mile, so sixty miles are nearly a hundred kilometres.",
    "The museum opens at ten, except on Mondays, and children under twelve pay nothing.",
    "She closed the window, put the kettle on, and waited for the others to come home.",
    "Nobody knows why the old clock in the hall strikes thirteen on the last day of the year.",
    "If the engine makes a humming noise, check the belt first, and then the two bolts behind it.",
    "They had walked for six hours when the path ended in front of a wooden bridge.",
)


class Speaking:
    """A `Synthesizer` at 16 kHz whose sentences come at once; every sentence is made once."""

    rate = RATE

    def __init__(self) -> None:
        self._engine = Hibari(Inline())
        self._known: dict[str, Pcm] = {}

    async def warm_up(self) -> None:
        """Loads the voice."""
        await self._engine.warm_up()

    def sound(self, text: str) -> Pcm:
        """A sentence as it is spoken."""
        if text not in self._known:
            self._known[text] = asyncio.run(self._make(text))
        return self._known[text]

    async def _make(self, text: str) -> Pcm:
        resampler = build.resampler(self._engine.rate, RATE)
        pieces = [resampler.process(pcm) async for pcm in self._engine.speak(text)]
        return np.concatenate([*pieces, resampler.flush(), silence(RATE // 6)])

    async def speak(self, text: str, manner: Manner | None = None) -> AsyncGenerator[Pcm, None]:
        """One chunk."""
        if text not in self._known:
            self._known[text] = await self._make(text)
        yield self._known[text]

    async def aclose(self) -> None:
        """Nothing to give back."""


class Teller:
    """A `Handler` that goes on and on, or says nothing."""

    early = True

    def __init__(self, sentences: int) -> None:
        self._sentences = sentences
        self._next = 0

    async def warm_up(self) -> None:
        """Nothing to load."""

    async def reply(self, turn: TurnView) -> AsyncGenerator[str, None]:
        """Sentence by sentence, as fast as they are taken."""
        for n in range(self._sentences):
            yield SENTENCES[(self._next + n) % len(SENTENCES)] + " "
            await asyncio.sleep(0.02)

    async def aclose(self) -> None:
        """Nothing to give back."""


@dataclass(slots=True)
class Scene:
    """path: None: nothing comes back. say: seconds of reply, about. person: who speaks `after` the reply began (ticks
    of microphone), None: nobody. first: the sentence to begin with."""

    path: EchoPath | None
    say: float
    person: Pcm | None = None
    after: int = 0
    first: int = 0
    noise_db: float = NOISE_DB
    seed: int = 0


@dataclass(slots=True)
class Outcome:
    """held: ticks of microphone at which the reply was held or stopped. spoke_at: where the person's sound began.
    words: of all turns."""

    spoke_at: int = 0
    seconds: float = 0.0
    held: list[int] = field(default_factory=lambda: list[int]())
    endings: list[str] = field(default_factory=lambda: list[str]())
    words: list[str] = field(default_factory=lambda: list[str]())
    doubts: list[tuple[float, float, float]] = field(default_factory=lambda: list[tuple[float, float, float]]())


class _Port(RoomPort):
    """Notes when it is told to be silent."""

    def __init__(self, room: Room, outcome: Outcome) -> None:
        super().__init__(room)
        self._outcome = outcome

    def hold(self, reply: int) -> int:
        """Noted."""
        self._outcome.held.append(self.room.at)
        return super().hold(reply)

    def flush(self, reply: int) -> int:
        """Noted."""
        self._outcome.held.append(self.room.at)
        return super().flush(reply)


class Player:
    """Plays scenes one after the other, with what the configuration gives."""

    def __init__(self, recognizer: Recognizer) -> None:
        self._recognizer = recognizer
        self.voice = Speaking()
        asyncio.run(self.voice.warm_up())
        self.reply_db = speech_db(np.concatenate([self.voice.sound(text) for text in SENTENCES]))
        self._parts = asyncio.run(_parts())
        self._vad = silero_engine()

    def play(self, scene: Scene) -> Outcome:
        """The scene, once."""
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(self._run(scene))

    async def _run(self, scene: Scene) -> Outcome:
        outcome = Outcome()
        room = Room(scene.path, Noise(scene.noise_db, seed=scene.seed))
        port = _Port(room, outcome)
        self._vad.reset()
        parts = replace(
            self._parts,
            port=port,
            vad=self._vad,
            echo=Aec3(),
            transcriber=Transcriber(self._recognizer),
            handler=Teller(0),
            synthesizer=self.voice,
        )
        session: Session
        told: dict[int, str] = {}

        def see(event: object) -> None:
            match event:
                case ev.ReplyStarted() if scene.person is not None and not outcome.spoke_at:
                    outcome.spoke_at = room.at + scene.after
                    room.say(scene.person, outcome.spoke_at)
                    port.finish(outcome.spoke_at + scene.person.size + _AFTER)
                case ev.ReplyEnded(ending=ending):
                    outcome.endings.append(ending)
                    if scene.person is None:
                        self._again(session, scene, port, outcome)
                case ev.Heard(turn=turn, text=text):
                    told[turn] = text
                case _:
                    pass

        session = Session(parts, [see], strict=True)
        if scene.say:
            self._tell(session, scene)
        else:
            assert scene.person is not None
            outcome.spoke_at = scene.after
            room.say(scene.person, scene.after)
            port.finish(scene.after + scene.person.size + _AFTER)
        await session.run()
        outcome.words = [text for _, text in sorted(told.items())]
        outcome.seconds = room.at / RATE
        return outcome

    def _tell(self, session: Session, scene: Scene) -> None:
        rate_s = 5.5  # seconds of a sentence
        n = max(1, round(scene.say / rate_s))
        session.say(" ".join(SENTENCES[(scene.first + k) % len(SENTENCES)] for k in range(n)))

    def _again(self, session: Session, scene: Scene, port: _Port, outcome: Outcome) -> None:
        """What was interrupted begins anew, until it has been said for as long as was asked."""
        if port.room.at < scene.say * RATE * 0.95:
            session.say(" ".join(SENTENCES))
        else:
            port.finish()


async def _parts() -> Parts:
    config = override(load_config(environ={}), {"offline": True, "stt.engine": "moonshine"})
    async with build.assemble(config, port=build.file_port([], None, paced=False)) as assembled:
        return assembled.parts


def frames(seconds: float) -> int:
    """Of 20 ms."""
    return round(seconds * RATE / FRAME)
