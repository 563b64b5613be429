"""The second net behind the echo canceller: what is our own voice is nobody's."""

from __future__ import annotations

import pytest

from voiceloop.core import events as ev
from voiceloop.core.audio import ticks
from voiceloop.core.selfspeech import Likeness, Voiced, likeness

SAID = "Once upon a time there was a king who had three daughters and the youngest was called Rose."


@pytest.mark.parametrize(
    ("heard", "share"),
    [
        ("three daughters and the youngest", 1.0),
        ("Three daughters; and the younger", 1.0),
        ("three doctors and the", 0.75),
        ("the king was upon a rose", 0.5),
        ("what time is it", 0.25),
        ("", 0.0),
        (None, 0.0),
        ("...", 0.0),
    ],
)
def test_how_many_of_the_words_are_ours(heard, share) -> None:
    assert likeness(Voiced(), heard, SAID).words == pytest.approx(share)


def test_only_what_was_said_lately_counts() -> None:
    later = " ".join(f"word{n}" for n in range(30))
    assert likeness(Voiced(), "three daughters and", f"{SAID} {later}").words == 0.0
    assert likeness(Voiced(), "anything at all", "").words == 0.0


@pytest.mark.parametrize(
    ("sound", "words", "n", "own"),
    [
        (0.9, 0.0, 0, True),
        (0.66, 0.0, 0, True),
        (0.5, 0.8, 1, True),
        (0.45, 0.5, 4, False),
        (0.1, 1.0, 5, True),
        (0.1, 1.0, 4, False),
        (0.1, 0.8, 6, False),
        (0.0, 0.0, 0, False),
    ],
)
def test_sound_and_words_together(sound, words, n, own) -> None:
    assert Likeness(sound, words, n).own is own


def test_of_a_voice_that_has_spoken_for_long_the_words_say_whose_it_is() -> None:
    """A person whom the canceller cannot tell from the echo, at a delay that is hard to find."""
    scrap, long = (Voiced(ticks(s), ticks(s) * 0.7) for s in (0.3, 0.8))
    assert likeness(scrap, "The crack", SAID).own
    assert likeness(long, None, SAID).own
    assert likeness(long, "three daughters and the youngest", SAID).own
    assert not likeness(long, "please tell me another story", SAID).own


def telling(world):
    """The assistant tells its story, and is heard up to the king."""
    it = world()
    it.ask("tell me a story", reply=SAID, seconds=6.0)
    it.quiet(3.0)
    return it


def test_our_own_words_do_not_stop_us(world) -> None:
    it = telling(world)
    assert ev.Hold(1) in it.speak(0.3, echo=0.45)
    out = it.quiet(0.12) + it.words("there was a king")
    assert ev.Resume(1) in out
    it.words("there was a king")
    ignored = it.traces("ignored")[-1]
    assert (ignored.because, ignored.facts["our_words"]) == ("own voice", 1.0)
    assert ignored.facts["echo"] > 0.4
    assert ev.SpeechRejected(2, "own voice") in it.quiet(1.0)
    it.finish()
    assert it.history() == [("user", "tell me a story"), ("assistant", SAID)]


def test_a_scrap_of_our_own_voice_is_let_go_at_the_pause(world) -> None:
    """An echo path that moves leaks for a tenth of a second, and nobody knows its words."""
    it = telling(world)
    assert ev.Hold(1) in it.speak(0.14, echo=0.7)
    assert ev.Resume(1) in it.quiet(0.14)
    assert it.traces("ignored")[-1].because == "own voice"


def test_what_the_canceller_leaves_of_us_is_too_quiet_to_hold_us(world) -> None:
    """Seen through a real sound server: three frames at -77 dBFS that sounded like speech."""
    it = telling(world)
    assert ev.Hold(1) not in it.speak(0.3, echo=0.8, db=-70) + it.quiet(0.5)
    assert ev.Hold(1) in it.speak(0.3, echo=0.2, db=-70)


def test_our_own_stop_does_not_stop_us(world) -> None:
    it = world()
    it.ask("what do I say", reply="Say stop and I will be silent as simple as that.", seconds=4.0)
    it.quiet(1.5)
    it.speak(0.3, echo=0.7)
    assert ev.Hush(1) not in it.quiet(0.12) + it.words("say stop", "stop")
    it.finish()
    assert [text for _, text in it.history()][-1].startswith("Say stop and I")


def test_a_person_who_says_our_words_is_a_person(world) -> None:
    it = telling(world)
    it.speak(0.3, echo=0.0)
    assert ev.Hush(1) in it.quiet(0.12) + it.words("there was a king")


def test_a_person_over_the_echo_is_heard(world) -> None:
    it = telling(world)
    it.speak(0.5, echo=0.3)
    assert ev.Hush(1) in it.quiet(0.12) + it.words("no tell me another one")


def test_a_long_voice_that_sounds_like_us_is_not_somebody(world) -> None:
    """Its words may come late, or be nothing that was said."""
    it = telling(world)
    out = it.speak(1.2, echo=0.9)
    assert ev.Hush(1) not in out
    assert ev.Resume(1) in out
    assert it.traces("ignored")[-1].because == "own voice"


def test_the_tail_of_our_voice_is_no_turn(world) -> None:
    """The reply has ended; its echo is still in the room."""
    it = world()
    it.ask("tell me a story", reply=SAID, seconds=2.0)
    it.quiet(2.1)
    assert it.all(ev.ReplyEnded)
    it.speak(0.4, echo=0.7)
    it.quiet(0.12)
    it.words("youngest was called Rose")
    it.quiet(2.0)
    assert it.all(ev.TurnDropped)[-1] == ev.TurnDropped(2, "own voice")
    assert len(it.all(ev.Answer)) == 1


def test_a_voice_is_judged_by_its_own_sound(world) -> None:
    """What was our own a moment ago says nothing of who speaks now."""
    it = telling(world)
    it.speak(0.3, echo=0.6)
    it.quiet(0.12)
    it.words("there was a king")
    it.quiet(1.0)
    it.speak(0.4, echo=0.0)
    assert ev.Hush(1) in it.quiet(0.12) + it.words("please be quiet now")
