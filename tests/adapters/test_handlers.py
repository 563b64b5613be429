"""Handlers that need no service: echo, offline, and the user's own functions."""

from __future__ import annotations

import asyncio
import functools
import re
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import aclosing
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceloop.adapters.handlers.echo import EchoHandler
from voiceloop.adapters.handlers.figures import read_number, say_date, say_number, say_time, say_year
from voiceloop.adapters.handlers.function import FunctionHandler, handler_of, load
from voiceloop.adapters.handlers.offline import OfflineHandler
from voiceloop.errors import ConfigError, ProviderError, ProviderTimeout
from voiceloop.ports import Handler, Message, TurnView
from voiceloop.session.workers import Workers

NOW = datetime(2026, 11, 22, 10, 43)
HISTORY = (Message("user", "hello"), Message("assistant", "Good morning!"))


def turn(text: str, history: tuple[Message, ...] = (), number: int = 0) -> TurnView:
    return TurnView(text, history, turn=number, rev=0, session="s")


async def say(handler: Handler, view: TurnView) -> str:
    async with aclosing(handler.reply(view)) as pieces:
        return "".join([piece async for piece in pieces])


def offline(draws: tuple[int, ...] = ()) -> OfflineHandler:
    left = list(draws)
    return OfflineHandler(lambda: NOW, lambda n: left.pop(0) % n)


async def test_echo_says_what_it_heard() -> None:
    handler: Handler = EchoHandler()
    assert handler.early
    await handler.warm_up()
    assert await say(handler, turn("Good day.")) == "Good day."
    assert await say(handler, turn("  ")) == ""
    await handler.aclose()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("What time is it?", "It's ten forty-three."),
        ("whats the time", "It's ten forty-three."),
        ("um so what's the time please", "It's ten forty-three."),
        ("hello what time is it now", "It's ten forty-three."),
        ("can you tell me the time", "It's ten forty-three."),
        ("time", "It's ten forty-three."),
        ("what time is it in tokyo", "I only know the time here. It's ten forty-three."),
        ("What's the date?", "It's Sunday, November 22nd."),
        ("whats todays date", "It's Sunday, November 22nd."),
        ("what day is it", "It's Sunday, November 22nd."),
        ("what day is it tomorrow", "Tomorrow is Monday, November 23rd."),
        ("What day is it to-morrow?", "Tomorrow is Monday, November 23rd."),
        ("what day was it yesterday", "Yesterday was Saturday, November 21st."),
        ("what day of the week is it", "It's Sunday."),
        ("what year is it", "It's twenty twenty-six."),
        ("what month is it", "It's November."),
        ("what is twelve times seven", "Twelve times seven is eighty-four."),
        ("What is 12 x 7?", "Twelve times seven is eighty-four."),
        ("12*7", "Twelve times seven is eighty-four."),
        ("fifteen percent of eighty", "Fifteen percent of eighty is twelve."),
        ("what's 15% of 80", "Fifteen percent of eighty is twelve."),
        ("square root of nine", "The square root of nine is three."),
        ("the cube root of twenty seven", "The cube root of twenty-seven is three."),
        ("cube root of minus eight", "The cube root of minus eight is minus two."),
        ("square root of 2", "The square root of two is about one point four one."),
        ("square root of minus one", "A negative number has no square root."),
        ("ten divided by four", "Ten divided by four is two point five."),
        (
            "ten divided by three",
            "Ten divided by three is about three point three three, or three remainder one.",
        ),
        ("ten over zero", "Nothing can be divided by zero."),
        ("ten modulo zero", "Nothing can be divided by zero."),
        ("zero to the power of minus one", "Nothing can be divided by zero."),
        ("whats the remainder of ten divided by three", "Ten modulo three is one."),
        ("twenty-one plus twenty-one", "Twenty-one plus twenty-one is forty-two."),
        ("1,000 plus 2,500.", "One thousand plus two thousand five hundred is three thousand five hundred."),
        ("add five and six and seven", "Five plus six plus seven is eighteen."),
        ("multiply one hundred and five by two", "One hundred and five times two is two hundred and ten."),
        ("subtract two from ten", "Ten minus two is eight."),
        ("difference between ten and four", "Ten minus four is six."),
        ("what is the product of six and seven", "Six times seven is forty-two."),
        ("divide ten by five", "Ten divided by five is two."),
        ("half of ten", "Half of ten is five."),
        ("a quarter of a hundred", "A quarter of one hundred is twenty-five."),
        ("double five plus one", "Two times five plus one is eleven."),
        ("three squared", "Three squared is nine."),
        ("two to the power of ten", "Two to the power of ten is one thousand and twenty-four."),
        ("two to the power of 0.5", "Two to the power of zero point five is about one point four one."),
        ("nine to the power of 99999", "That is too large for me."),
        ("(2+3)*4", "That is twenty."),
        ("two plus three times four", "Two plus three times four is fourteen."),
        ("fifty plus ten percent", "Fifty plus ten percent is fifty-five."),
        ("minus five plus three", "Minus five plus three is minus two."),
        ("zero point one plus zero point two", "Zero point one plus zero point two is zero point three."),
        ("a million times a million times a million", None),
        ("how many feet in a mile", "One mile is five thousand two hundred and eighty feet."),
        ("convert 5 miles to kilometers", "Five miles are about eight point zero five kilometers."),
        ("what is 50 degrees fahrenheit in celsius", "Fifty degrees Fahrenheit is ten degrees Celsius."),
        ("minus 40 celsius in fahrenheit", "Minus forty degrees Celsius is minus forty degrees Fahrenheit."),
        ("10km in miles", "Ten kilometers are about six point two one miles."),
        ("how many seconds are there in a day", "One day is eighty-six thousand four hundred seconds."),
        ("how many feet in a kilogram", "Kilograms cannot be turned into feet."),
        ("Repeat after me: Hello, World!", "Hello, World!"),
        ("please say good night everybody", "Good night everybody"),
        ("hello", "Good morning! What can I do for you?"),
        ("thank you very much", "You're welcome."),
        ("goodbye", "Goodbye!"),
        ("who are you", "I am voiceloop, an assistant."),
        ("can you hear me", "Yes, I can hear you."),
        ("", ""),
        (" ... ", ""),
    ],
)  # fmt: skip
async def test_offline_answers(text: str, answer: str | None) -> None:
    found = await say(offline(), turn(text))
    assert found == answer if answer is not None else found.endswith("times ten to the power of eighteen.")


@pytest.mark.parametrize("text", ["repeat that", "Say that again, please.", "pardon", "what did you say", "again"])
async def test_offline_repeats(text: str) -> None:
    assert await say(offline(), turn(text, HISTORY)) == "Good morning!"
    cut = (*HISTORY, Message("assistant", "It's ten", said="It's ten to nine.", cut_at=0.6))
    assert await say(offline(), turn(text, cut)) == "It's ten to nine."
    assert await say(offline(), turn(text)) == "I have not said anything yet."


async def test_offline_recalls() -> None:
    assert await say(offline(), turn("what did I just say", HISTORY)) == "You said: hello"
    assert "not said anything" in await say(offline(), turn("what did i say"))


@pytest.mark.parametrize(
    ("text", "draws", "answer"),
    [
        ("flip a coin", (0,), "Heads."),
        ("toss a coin please", (1,), "Tails."),
        ("roll a die", (3,), "Four."),
        ("roll the dice", (3,), "Four."),
        ("roll two dice", (0, 5), "One and six: seven together."),
        ("roll three dice", (0, 1, 2), "One, two and three: six together."),
        ("roll a twenty sided die", (19,), "Twenty."),
        ("pick a number between one and ten", (6,), "Seven."),
        ("a number from 10 to 1", (6,), "Seven."),
    ],
)
async def test_offline_chance(text: str, draws: tuple[int, ...], answer: str) -> None:
    assert await say(offline(draws), turn(text)) == answer


@pytest.mark.parametrize(
    "text",
    ["i had a great time yesterday", "tell me a joke", "one two three", "five", "two plus", "plus two", "(2+3", "x",
     "whats the weather", "two to the tenth", "what is ten in feet", "pick a number between cats and dogs"],
)  # fmt: skip
async def test_offline_says_what_it_cannot(text: str) -> None:
    first, second = [await say(offline(), turn(text, number=n)) for n in (0, 1)]
    assert "you can" in first.lower()
    assert first != second
    assert await say(offline(), turn(text, number=0)) == first, "a repeated call gives the same reply"


async def test_offline_help() -> None:
    for text in ("help", "what can you do", "say something"):
        assert "the time and the date" in await say(offline(), turn(text))


@given(st.text(max_size=60))
def test_offline_survives_anything(text: str) -> None:
    async def run() -> str:
        return await say(OfflineHandler(lambda: NOW, lambda n: n - 1), turn(text))

    reply = asyncio.run(run())
    assert bool(reply) == any(c.isalnum() for c in text)


@given(
    st.lists(
        st.sampled_from(
            re.findall(
                r"\S+",
                "what is plus minus times divided by over percent of squared square root ( ) - 2 3.5 ten hundred and "
                "million a half third point to the power convert miles in feet roll dice number between",
            )
        ),
        max_size=12,
    )
)
def test_offline_survives_any_sum(words: list[str]) -> None:
    test_offline_survives_anything.hypothesis.inner_test(" ".join(words))  # pyright: ignore


@given(st.integers(-(10**15) + 1, 10**15 - 1))
def test_numbers_are_read_as_they_are_said(n: int) -> None:
    words = say_number(abs(n)).replace("-", " ").split()
    assert read_number(words) == (Fraction(abs(n)), len(words))


@given(st.decimals(0, 9999, places=2))
def test_decimals_are_read_as_they_are_said(value: object) -> None:
    words = say_number(Fraction(str(value))).replace("-", " ").split()
    assert read_number(words) == (Fraction(str(value)), len(words))


def test_times_and_dates() -> None:
    day = datetime(2026, 1, 1)
    assert [say_date(day + timedelta(days=n)).split()[-1] for n in (0, 1, 2, 3, 10, 11, 12, 20, 21, 22, 30)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "23rd", "31st"
    ]  # fmt: skip
    assert [say_time(datetime(2026, 1, 1, h, m).time()) for h, m in ((0, 0), (12, 0), (0, 5), (13, 0), (23, 59))] == [
        "midnight", "noon", "twelve oh five", "one o'clock", "eleven fifty-nine"
    ]  # fmt: skip
    assert [say_year(y) for y in (1900, 1905, 2000, 2007, 2026)] == [
        "one thousand nine hundred", "nineteen oh five", "two thousand", "two thousand and seven", "twenty twenty-six"
    ]  # fmt: skip


@pytest.fixture
def runner() -> Iterator[Workers]:
    workers = Workers(2)
    yield workers
    workers.close()


def plain(text: str) -> str:
    return f"{text} in {threading.current_thread() is threading.main_thread()}"


def plain_turn(text: str, turn: TurnView) -> str:
    return f"{text} {turn.turn}"


def optional(text: str, turn: TurnView | None = None) -> str:
    return f"{text} {turn is not None}"


def with_setting(text: str, factor: int = 2) -> str:
    return text * factor


async def coroutine(text: str) -> str:
    await asyncio.sleep(0)
    return text


def generator(text: str) -> Generator[str | None, None, None]:
    yield text
    yield None
    yield f" {threading.current_thread() is threading.main_thread()}"


async def async_generator(text: str, turn: TurnView) -> AsyncGenerator[str, None]:
    yield text
    yield str(turn.turn)


class Bot:
    def answer(self, text: str) -> str:
        return text

    async def __call__(self, text: str, turn: TurnView) -> str:
        return f"{text} {turn.turn}"


@pytest.mark.parametrize(
    ("fn", "answer"),
    [
        (plain, "hi in False"),
        (plain_turn, "hi 7"),
        (optional, "hi True"),
        (with_setting, "hihi"),
        (coroutine, "hi"),
        (generator, "hi False"),
        (async_generator, "hi7"),
        (str.upper, "HI"),
        (Bot().answer, "hi"),
        (Bot(), "hi 7"),
        (functools.partial(with_setting, factor=3), "hihihi"),
        (lambda text: coroutine(text), "hi"),
        (lambda text: async_generator(text, turn("", number=9)), "hi9"),
        (lambda text: None, ""),
        (lambda *args: args[0], "hi"),
    ],
)
async def test_functions_of_every_kind(fn: Callable[..., object], answer: str, runner: Workers) -> None:
    handler: Handler = FunctionHandler(fn, runner, timeout_s=20)
    assert not handler.early
    await handler.warm_up()
    assert await say(handler, turn("hi", number=7)) == answer
    await handler.aclose()


def test_early_is_an_attribute_of_the_function(runner: Workers) -> None:
    def quick(text: str) -> str:
        return text

    quick.early = True  # pyright: ignore
    assert FunctionHandler(quick, runner).early


async def raising(text: str) -> str:
    raise KeyError(text)


def raising_generator(text: str) -> Generator[str, None, None]:
    yield "a"
    raise TimeoutError(text)


async def raising_async_generator(text: str) -> AsyncGenerator[str, None]:
    yield "a"
    raise StopIteration(text)


def stopping(text: str) -> str:
    raise StopIteration(text)


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (lambda text: {}[text], "KeyError"),
        (raising, "KeyError"),
        (raising_generator, "TimeoutError"),
        (raising_async_generator, "RuntimeError"),
        (stopping, "StopIteration"),
    ],
)
async def test_what_a_function_raises(fn: Callable[..., object], name: str, runner: Workers) -> None:
    with pytest.raises(ProviderError) as caught:
        await say(FunctionHandler(fn, runner, timeout_s=20), turn("secret words"))
    assert f"raised {name}" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.stage == "handler"
    assert caught.value.__cause__ is not None
    assert not isinstance(caught.value, ProviderTimeout)


async def test_an_error_of_ours_goes_through(runner: Workers) -> None:
    def own(text: str) -> str:
        raise ProviderTimeout("mine", stage="handler")

    with pytest.raises(ProviderTimeout, match="mine"):
        await say(FunctionHandler(own, runner), turn("x"))


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda text: 5, "returned int"),
        (lambda text: [text], "returned list"),
        (lambda text: text.encode(), "returned bytes"),
        (lambda text: (n for n in (1, 2)), "yielded int"),
    ],
)
async def test_wrong_types(fn: Callable[..., object], words: str, runner: Workers) -> None:
    with pytest.raises(ProviderError, match=words):
        await say(FunctionHandler(fn, runner), turn("x"))


async def test_deadlines(runner: Workers) -> None:
    over = threading.Event()

    def blocks(text: str) -> str:
        over.wait(20)
        return text

    def dawdles(text: str) -> Generator[str, None, None]:
        yield "a"
        over.wait(20)

    async def sleeps(text: str) -> str:
        await asyncio.sleep(20)
        return text

    async def sleeps_later(text: str) -> AsyncGenerator[str, None]:
        yield "a"
        await asyncio.sleep(20)

    try:
        for fn in (blocks, dawdles, sleeps, sleeps_later):
            with pytest.raises(ProviderTimeout, match=f"'{fn.__name__}' gave nothing within 0.05 s"):
                await say(FunctionHandler(fn, runner, timeout_s=0.05), turn("x"))
    finally:
        over.set()


async def test_no_thread_left_is_an_error_of_the_handler() -> None:
    workers = Workers(1)
    workers.close()
    with pytest.raises(ProviderError, match="no worker thread: the workers are closed") as caught:
        await say(FunctionHandler(plain, workers), turn("x"))
    assert caught.value.stage == "handler"


async def test_leaving_closes_the_users_generators(runner: Workers) -> None:
    closed = threading.Event()

    def sync(text: str) -> Generator[str, None, None]:
        try:
            while True:
                yield text
        finally:
            closed.set()

    done = asyncio.Event()

    async def asynchronous(text: str) -> AsyncGenerator[str, None]:
        try:
            while True:
                yield text
        finally:
            done.set()

    for fn in (sync, asynchronous):
        async with aclosing(FunctionHandler(fn, runner).reply(turn("x"))) as pieces:
            assert await anext(pieces) == "x"
    assert done.is_set()
    assert closed.wait(20)


@pytest.mark.parametrize(
    "fn", [lambda: "x", lambda a, b, c: "x", lambda text, *, key: "x"], ids=["none", "three", "keyword"]
)
def test_signatures_that_do_not_fit(fn: Callable[..., object], runner: Workers) -> None:
    with pytest.raises(ConfigError, match=r"must take \(text\) or \(text, turn\)"):
        FunctionHandler(fn, runner)


class Whole(EchoHandler):
    pass


class Half:
    early: ClassVar[bool] = True
    closed = False

    async def reply(self, turn: TurnView) -> AsyncGenerator[str, None]:
        yield turn.text.upper()

    async def aclose(self) -> None:
        self.closed = True


class Needy(Whole):
    def __init__(self, key: str) -> None: ...


async def test_objects_with_reply(runner: Workers) -> None:
    whole = Whole()
    assert handler_of(whole, runner) is whole
    assert isinstance(handler_of(Whole, runner), Whole)
    assert isinstance(handler_of(plain, runner), FunctionHandler)
    half = Half()
    adopted = handler_of(half, runner)
    assert adopted.early
    await adopted.warm_up()
    assert await say(adopted, turn("hi")) == "HI"
    await adopted.aclose()
    assert half.closed
    with pytest.raises(ConfigError, match="'Needy' must be made without arguments"):
        handler_of(Needy, runner)
    with pytest.raises(ConfigError, match="this is int"):
        handler_of(5, runner)


@pytest.fixture
def bots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "a_bot.py").write_text(
        "number = 5\n\ndef answer(text):\n    return text\n\nclass Room:\n    answer = answer\n"
    )
    (tmp_path / "needy_bot.py").write_text("import nosuchthing\n")
    (tmp_path / "broken_bot.py").write_text("1 / 0\n")
    (tmp_path / "typo_bot.py").write_text("def\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    yield
    for name in ("a_bot", "needy_bot", "broken_bot", "typo_bot"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("bots")
async def test_load_finds_functions_in_the_working_directory(runner: Workers) -> None:
    for path in ("a_bot:answer", "a_bot:Room.answer"):
        found = load(path)
        assert callable(found)
        assert await say(handler_of(found, runner), turn("hi")) == "hi"


@pytest.mark.usefixtures("bots")
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("a_bot", "must be written as module:function"),
        (":answer", "must be written as module:function"),
        ("a_bot:", "must be written as module:function"),
        ("no_bot:answer", "'no_bot' is not found"),
        ("a_bot.sub:answer", "'a_bot.sub'"),
        ("needy_bot:answer", "needs 'nosuchthing': install that"),
        ("broken_bot:answer", "fails to import: ZeroDivisionError"),
        ("typo_bot:answer", "fails to import: SyntaxError"),
        ("a_bot:reply", "has nothing called 'reply'"),
        ("a_bot:number", "is int: it must be callable"),
    ],
)
def test_load_says_what_is_wrong(path: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert words in str(caught.value)
