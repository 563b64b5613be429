"""A small assistant that needs no service: time, date, sums, conversions, chance, and what was said before.

It works on transcripts as they come: lower case, no punctuation, "whats". What it cannot do it says, with what it
heard and one thing that it can do.
"""

from __future__ import annotations

import random
import re
from collections.abc import AsyncGenerator, Callable
from datetime import datetime, timedelta
from typing import Final

from voiceloop.adapters.handlers.figures import (
    read_number,
    say_date,
    say_month,
    say_number,
    say_time,
    say_weekday,
    say_year,
)
from voiceloop.adapters.handlers.sums import answer_conversion, answer_sum
from voiceloop.ports import TurnView

ABILITIES: Final = (
    "ask me what time it is",
    "ask me something like twelve times seven",
    "ask me what day it is tomorrow",
    "ask me how many feet there are in a mile",
    "ask me to flip a coin",
    "say, repeat after me, and then some words",
)

Skill = Callable[["OfflineHandler", "re.Match[str]", TurnView], str]


class OfflineHandler:
    """A Handler without any service behind it. The same words may be answered twice: it changes nothing."""

    early = True

    def __init__(self, clock: Callable[[], datetime], draw: Callable[[int], int] = random.randrange) -> None:
        """clock: local time. draw: a number from 0 to n - 1, by chance."""
        self.clock = clock
        self.draw = draw

    async def warm_up(self) -> None:
        """Nothing to do."""

    async def reply(self, turn: TurnView) -> AsyncGenerator[str, None]:
        """One or two short sentences; nothing if no words came."""
        if any(c.isalnum() for c in turn.text):
            yield self._answer(turn)

    async def aclose(self) -> None:
        """Nothing to give back."""

    def _answer(self, turn: TurnView) -> str:
        plain = _plain(turn.text)
        for pattern, skill in _SKILLS:
            if match := pattern.search(plain):
                return skill(self, match, turn)
        lower = turn.text.lower().replace("\u2019", "'").replace("'", "").strip()
        found = answer_conversion(plain) or answer_sum(lower)
        if found:
            return found
        for pattern, skill in _COURTESIES:
            if match := pattern.search(plain):
                return skill(self, match, turn)
        return f"I heard: {_sentence(turn.text)} That is beyond me, but you can {_ability(turn)}."


def _plain(text: str) -> str:
    """Lower case, one space, no punctuation but what numbers need, no words that only fill."""
    text = text.lower().replace("\u2019", "'").replace("'", "")
    text = re.sub(r"\bto-(?=day|morrow|night)", "to", text)  # as Moonshine spells them
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    text = re.sub(r"[^\w\s.%+*/:-]|\.(?!\d)|(?<=[a-z])-(?=[a-z])", " ", text)
    return re.sub(r"^(?:(?:um|uh|er|so|well|okay|ok|please|and) )+| please$", "", " ".join(text.split()))


def _sentence(text: str) -> str:
    """With one sign at its end: a question stays a question."""
    bare = text.strip().rstrip(" ,.;:!?-")
    return f"{bare}{'?' if text.rstrip(' .').endswith('?') else '.'}"


def _ability(turn: TurnView) -> str:
    # By turn, not by a counter: a call may be repeated with more words.
    return ABILITIES[turn.turn % len(ABILITIES)]


def _time(handler: OfflineHandler, match: re.Match[str], turn: TurnView) -> str:
    here = "I only know the time here. " if re.search(r"\btime is it in \w", match.string) else ""
    return f"{here}It's {say_time(handler.clock().time())}."


def _date(handler: OfflineHandler, match: re.Match[str], turn: TurnView) -> str:
    shift = 1 if "tomorrow" in match.string else -1 if "yesterday" in match.string else 0
    day = handler.clock() + timedelta(days=shift)
    subject = {1: "Tomorrow is", -1: "Yesterday was", 0: "It's"}[shift]
    if re.search(r"\b(?:year)\b", match[0]):
        return f"It's {say_year(day.year)}."
    if re.search(r"\bwhat month\b", match[0]):
        return f"It's {say_month(day)}."
    if re.search(r"\b(?:of the week|weekday)\b", match.string):
        return f"{subject} {say_weekday(day)}."
    return f"{subject} {say_date(day)}."


def _coin(handler: OfflineHandler, match: re.Match[str], turn: TurnView) -> str:
    return ("Heads.", "Tails.")[handler.draw(2)]


def _dice(handler: OfflineHandler, match: re.Match[str], turn: TurnView) -> str:
    count = read_number((match["n"] or "one").split())
    n = min(6, max(1, int(count[0]))) if count else 1
    sides = read_number((match["sides"] or "six").split())
    highest = max(2, int(sides[0])) if sides else 6
    rolls = [handler.draw(highest) + 1 for _ in range(n)]
    if n == 1:
        return f"{say_number(rolls[0]).capitalize()}."
    listed = ", ".join(say_number(r) for r in rolls[:-1]) + f" and {say_number(rolls[-1])}"
    return f"{listed.capitalize()}: {say_number(sum(rolls))} together."


def _between(handler: OfflineHandler, match: re.Match[str], turn: TurnView) -> str:
    a, b = read_number(match["a"].split(), joins=False), read_number(match["b"].split())
    if a is None or b is None:
        return f"Between which numbers? You can {_ability(turn)}."
    low, high = sorted((int(a[0]), int(b[0])))
    return f"{say_number(low + handler.draw(high - low + 1)).capitalize()}."


def _again(handler: OfflineHandler, match: re.Match[str], turn: TurnView) -> str:
    # All of it: who cut it off and asks again wants the rest too.
    last = next((m.said or m.text for m in reversed(turn.history) if m.role == "assistant" and m.text.strip()), None)
    return last or "I have not said anything yet."


def _heard(handler: OfflineHandler, match: re.Match[str], turn: TurnView) -> str:
    last = next((m.text for m in reversed(turn.history) if m.role == "user" and m.text.strip()), None)
    return f"You said: {last}" if last else "You have not said anything before that."


def _parrot(handler: OfflineHandler, match: re.Match[str], turn: TurnView) -> str:
    # From the transcript itself, which still has its capitals and commas.
    words = re.split(r"(?i)\b(?:repeat after me|repeat the words|say|repeat)\b[\s,.:;-]*", turn.text, maxsplit=1)[-1]
    words = words.strip(" \"'")
    return words[:1].upper() + words[1:] if words else "What shall I repeat?"


def _help(handler: OfflineHandler, match: re.Match[str], turn: TurnView) -> str:
    return (
        "I can tell you the time and the date, work out sums, convert units, flip a coin, roll dice, "
        f"and repeat what was said. For example, {_ability(turn)}."
    )


def _hello(handler: OfflineHandler, match: re.Match[str], turn: TurnView) -> str:
    hour = handler.clock().hour
    part = "morning" if 4 <= hour < 12 else "afternoon" if 12 <= hour < 18 else "evening"
    return f"Good {part}! What can I do for you?"


def _says(text: str) -> Skill:
    def skill(handler: OfflineHandler, match: re.Match[str], turn: TurnView) -> str:
        return text

    return skill


def _table(*rows: tuple[str, Skill]) -> tuple[tuple[re.Pattern[str], Skill], ...]:
    return tuple((re.compile(pattern), skill) for pattern, skill in rows)


_ASK = r"(?:(?:can|could|would) you |please |hey |now )*"
_WHAT = r"\b(?:what is|whats|what was|tell me|give me|do you know|do you have|say)"
_NUMBER = r"[a-z0-9 ]+?"

_SKILLS = _table(
    (rf"^{_ASK}(?:repeat after me|repeat the words)\b", _parrot),
    (r"^what did i (?:just )?say", _heard),
    (
        rf"^{_ASK}(?:repeat(?: (?:that|it|yourself|again|what you (?:just )?said))*|say (?:that|it) again|"
        r"say (?:that|it) one more time|come again|pardon(?: me)?|(?:sorry )?what did you (?:just )?say|"
        r"(?:sorry )?what was that|once more|one more time|again|i (?:did not|didnt) (?:hear|catch|get) (?:that|you))"
        r"(?: please| again)?$",
        _again,
    ),
    (
        rf"\bwhat time is it\b|\bwhat time(?: do)? (?:you have|we have|have you got|it is)|^what time$|"
        rf"{_WHAT} (?:the |what )?(?:current |exact |local )?time\b"
        r"(?! (?:is |do |does )?(?!now|please|it|here|right)\w)|"
        r"^(?:the )?(?:current )?time(?: now)?$|\bhow late is it\b",
        _time,
    ),
    (
        r"\bwhat (?:day|date|weekday)(?: of the week)? (?:is|was|will|do we have|are we)\b|"
        r"\bwhat(?:s| is| was| will be)?(?: the)? (?:todays|tomorrows|yesterdays|current)? ?date\b|"
        rf"{_WHAT} (?:the |todays )?(?:date|day of the (?:week|month)|day|weekday)"
        r"(?: (?:is it|it is|today|tomorrow))?$|\bwhat (?:month|year) is (?:it|this)\b|"
        r"\bwhat(?:s| is) the (?:current )?year\b|^(?:the )?(?:date|day)(?: today)?$|"
        r"\bwhich (?:day|date) is (?:it|today|tomorrow)\b",
        _date,
    ),
    (r"\b(?:flip|toss|throw) (?:a |the |me a )?coin\b|^heads or tails", _coin),
    (
        rf"\b(?:roll|throw|cast)(?: me| the)?(?: (?P<n>a|an|{_NUMBER}))?(?: (?P<sides>{_NUMBER}) sided)?"
        r" (?:dice|die)\b",
        _dice,
    ),
    (
        rf"\b(?:number|integer) (?:between|from) (?P<a>{_NUMBER}) (?:and|to) (?P<b>[a-z0-9 ]+)$",
        _between,
    ),
    (rf"^{_ASK}say (?!something|anything)\S", _parrot),
)

_COURTESIES = _table(
    (r"^help\b|\bwhat (?:can|do) you (?:do|know|offer)\b|\bhow do you work\b|\bcan you help\b|\bhelp me$", _help),
    (r"\b(?:who are you|whats your name|what is your name|what are you)\b", _says("I am voiceloop, an assistant.")),
    (r"\bhow are you\b|\bhow is it going\b|\bhows it going\b", _says("I am well, thank you. What can I do for you?")),
    (r"^(?:no )?(?:many )?(?:thanks|thank you|cheers)\b(?: \w+){0,4}$", _says("You're welcome.")),
    (r"^(?:good ?bye|bye|see you|good night|farewell)\b(?: \w+){0,4}$", _says("Goodbye!")),
    (r"^(?:hello|hi|hey|howdy|greetings|good (?:morning|afternoon|evening|day))\b(?: \w+){0,3}$", _hello),
    (r"^(?:are you there|can you hear me|do you hear me|testing|test)\b", _says("Yes, I can hear you.")),
    (r"^(?:say something|tell me something)$", _help),
)
