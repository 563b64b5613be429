"""What answers the clients of Realtime: it tells a long story, asks for the weather, or says what it heard."""

from __future__ import annotations

from collections.abc import Iterator

from voiceloop.ports import TurnView

STORY = (
    "Once upon a time there was a king who had three daughters. The eldest was clever, the second was brave, "
    "and the youngest was so fair that the sun itself was astonished whenever it shone on her face. "
    "Close by the castle lay a great dark forest, and under an old lime tree in the forest was a well. "
    "On hot days the youngest went out into the forest and sat down at the edge of the cool water. "
    "When she was bored she took a golden ball, threw it high into the air, and caught it again with both hands. "
    "One evening the ball slipped through her fingers, rolled over the stones, and fell into the well. "
    "She looked after it until it could not be seen any more, for the water was deep and dark and cold. "
    "Then she began to cry, louder and louder, until a voice from below asked her what was the matter."
)
"""Half a minute and more: the server sends 20 s ahead, so that somebody who soon speaks over it comes before all of it
was sent."""


def _plain(output: str) -> str:
    return output.strip('"')  # some frameworks send JSON


def answer(text: str, turn: TurnView) -> Iterator[str]:
    """The reply, or a call of the first function that is offered."""
    brief = turn.brief
    if brief and brief.results:
        yield f"The weather is {_plain(brief.results[-1].output)}."
    elif brief and brief.tools:
        turn.call(brief.tools[0].name, '{"city": "Rome"}')
    elif "forward" in text.lower():
        yield STORY
    else:
        yield f"You said {text}"


answer.early = True
