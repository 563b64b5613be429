"""Clauses: where a reply is cut, what of it is read, and that neither depends on the deltas."""
# ruff: noqa: RUF001  (punctuation of many scripts looks like other punctuation)

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceloop.core.clauses import CODE, Clauses, speakable
from voiceloop.core.markdown import HELD, SKIPPED


def clauses(text: str, **limits: int) -> list[str]:
    machine = Clauses(**limits)
    return machine.feed(text) + machine.flush()


CUTS = {
    "sentences": ("Hello there. How are you? Fine! Good", ["Hello there.", "How are you?", "Fine!", "Good"]),
    "lower case": ("hi there. how are you?", ["hi there.", "how are you?"]),
    "marks in a row": ("What?! No!!! Yes.", ["What?!", "No!!!", "Yes."]),
    "closing marks": ('He said "no." (Really!) Then', ['He said "no."', "(Really!)", "Then"]),
    "numbers": ("It is 3.14. Or 1,000. At 10:30. Bye", ["It is 3.14.", "Or 1,000.", "At 10:30.", "Bye"]),
    "a sum": ("The result: 4. More?", ["The result: 4.", "More?"]),
    "names of things": ("See example.com or setup.py. v2.0.1. Ok", ["See example.com or setup.py.", "v2.0.1.", "Ok"]),
    "e-mail": ("Write to me@example.org. Bye", ["Write to me@example.org.", "Bye"]),
    "titles": ("Mr. Smith and Dr. J. R. Jones came. Ok", ["Mr. Smith and Dr. J. R. Jones came.", "Ok"]),
    "short forms": ("Fruit, e.g. apples, i.e. food. Ok", ["Fruit, e.g. apples, i.e. food.", "Ok"]),
    "dotted": ("The U.S. President spoke. Ok", ["The U.S. President spoke.", "Ok"]),
    "no": ("No. That is No. 5. Ok", ["No.", "That is No. 5.", "Ok"]),
    "month": ("On Jan. 5 or in Jan. (cold). It", ["On Jan. 5 or in Jan.", "(cold).", "It"]),
    "etc": ("Eggs, milk etc. are here. Tea etc. That", ["Eggs, milk etc. are here.", "Tea etc.", "That"]),
    "hours": ("At 5 p.m. on Monday. At 6 a.m. He", ["At 5 p.m. on Monday.", "At 6 a.m.", "He"]),
    "hours at the end": ("At 5 p.m.\nNext", ["At 5 p.m.", "Next"]),
    "bracketed short form": ("A list (cats etc.) of pets. Ok", ["A list (cats etc.) of pets.", "Ok"]),
    "I": ("So do I. Then", ["So do I.", "Then"]),
    "ellipsis": ("Wait... what? Well… ok.", ["Wait... what?", "Well… ok."]),
    "list markers": ("1. Eggs\n2. Milk\n(a. x)", ["1. Eggs", "2. Milk", "(a. x)"]),
    "list in a line": ("Either: 1. Call. 2. Mail.", ["Either: 1. Call.", "2. Mail."]),
    "no space": ("foo?bar=1 and Yahoo!Japan", ["foo?bar=1 and Yahoo!Japan"]),
    "lines": ("one\ntwo\n\n\nthree\r\nfour", ["one", "two", "three", "four"]),
    "spaces": ("  a \t b\x00c\u00a0d  ", ["a b c d"]),
    "nothing to say": ("🙂. ... -- !? \n***\n* * *\n ok", ["ok"]),
    "nothing": ("", []),
    "chinese": ("你好吗？我很好。「是的。」他说！好", ["你好吗？", "我很好。", "「是的。」", "他说！", "好"]),
    "chinese with latin marks": ("你好吗?我很好.谢谢", ["你好吗?", "我很好.", "谢谢"]),
    "wide decimal": ("３．１４です。はい", ["３．１４です。", "はい"]),
    "hindi": ("नमस्ते। आप कैसे हैं?", ["नमस्ते।", "आप कैसे हैं?"]),
    "arabic": ("كيف حالك؟ بخير.", ["كيف حالك؟", "بخير."]),
}


@pytest.mark.parametrize("name", CUTS)
def test_cuts(name: str) -> None:
    text, expected = CUTS[name]
    assert clauses(text) == expected


READ = {
    "emphasis": ("**Bold.** *Soft* __strong__ _low_ ***both*** ~~gone~~", ["Bold.", "Soft strong low both gone"]),
    "emphasis in a word": ("**B**old and **Kopf**zeile and *强调*文字", ["Bold and Kopfzeile and 强调文字"]),
    "emphasis over sentences": ("**One. Two.** Three", ["One.", "Two.", "Three"]),
    "unclosed emphasis": ("**Note: this *is", ["Note: this is"]),
    "sums": ("3 * 4 and 2*3 and 2**3 and a_b and ~5", ["3 * 4 and 2*3 and 2**3 and a_b and ~5"]),
    "names": ("`__init__` and snake_case and __init__", ["__init__ and snake_case and init"]),
    "a gap": ("fill in ____ or _ here", ["fill in or _ here"]),
    "long run": ("a " + "*" * 1000 + " b", ["a b"]),
    "heading": ("# One\n## Two ##\n###### Six\n#7 and C#\n#\n", ["One", "Two", "Six", "#7 and C#"]),
    "bullets": ("- a\n* b\n  + c\n• d\n- - e\n-5 f\n- [ ] g\n- [x] h", [*"abcde", "-5 f", "g", "h"]),
    "bold bullet": ("- **A**: b\n**C** d", ["A: b", "C d"]),
    "quotes": ("> a\n>> b\n> - c", ["a", "b", "c"]),
    "rules": ("a\n---\nb\n***\nc\n===\n- - -\nd\n--- e", ["a", "b", "c", "d", "e"]),
    "long rule": ("-" * 500 + "\na", ["a"]),
    "table": (
        "| Name | Age |\n|:-----|----:|\n| Bob | **3.5** |\nx | y\n--|--\nk | l",
        ["Name, Age", "Bob, 3.5", "x, y", "k, l"],
    ),
    "links": ("[Go](https://x.org/a_(b) 'title') to [it][1] or [this]. ok", ["Go to it or this.", "ok"]),
    "link in angles": ("[a b](<x y>) c", ["a b c"]),
    "link over an address": ("[https://x.org/y](https://x.org/y) ok", ["x.org ok"]),
    "no link": ("[maybe](not, really) [so](what\nnow) a[0]", ["maybe (not, really) so (what", "now) a"]),
    "no reference": ("[a][b\nc", ["a b", "c"]),
    "brackets": ("a[i] and [b] and b]c", ["a i and b and bc"]),
    "images": ("![a cat](cat.png) Wow! ![](x) Yes![No", ["a cat Wow!", "Yes No"]),
    "image with data": ("![dot](data:image/png;base64," + "A" * 5000 + ") ok", ["dot ok"]),
    "unclosed address": ("[go](" + "A" * 400 + " and on", ["go and on"]),
    "unclosed address, no spaces": ("[go](" + "A" * 400 + "。好", ["go。", "好"]),
    "cut short": ("[go](so much", ["go(so much"]),
    "cut short address": ("[go](https://exam", ["go"]),
    "footnotes": ("Text[^1] is[12] so.\n[^1]: Note.", ["Text is so.", "Note."]),
    "year": ("in [2024](https://x.org) it", ["in 2024 it"]),
    "code": ("Use `a*b` or ``x`y`` or `u|v`.", ["Use a*b or xy or u|v."]),
    "unclosed code": ("Use `a *b\n*c*", ["Use a *b", "c"]),
    "block": ("See:\n```python\nx = 1. y\n\n``\n```\nOk", ["See:", CODE, "Ok"]),
    "block of tildes": ("~~~~\n~~~\nx\n  ~~~~~  \nOk", [CODE, "Ok"]),
    "block in a line": ("See ```py\nx\n``` \nOk", ["See", CODE, "Ok"]),
    "block in a list": ("- a\n- ```\n  x\n  ```\n- b", ["a", CODE, "b"]),
    "three backticks": ("```x = 1``` is *it*. And ```y``` too", ["x = 1 is it.", "And y too"]),
    "unclosed block": ("```\nx = 1\n", [CODE]),
    "block cut short": ("Ok\n```pyth", ["Ok"]),
    "tags": ("<b>a</b><br/>b <span class='x' id=y>c</span>\n<Foo>d</p><p>e", ["a", "b c", "d", "e"]),
    "html table": ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", ["a, b", "c"]),
    "no tags": ("a < b, i <3u, x<y, Vec<String>, <1>", ["a < b, i <3u, x<y, Vec<String>,", "<1>"]),
    "no tag in a line": ("if a <b\nthen <a href", ["if a <b", "then <a href"]),
    "nested angles": ("<a <b>c</b>", ["<a c"]),
    "hidden": ("<think>No.\nYes</think>Hi<!-- x > y -->. <style>p {}</STYLE>Ok</think>", ["Hi.", "Ok"]),
    "autolinks": ("<https://x.org/y> <a@b.org> <mailto:c@d.org>", ["x.org a@b.org c@d.org"]),
    "addresses": (
        "See https://www.example.com/a/b?c=1#d, http://u:p@h.org:80/~x. Or WWW.foo.org! At https:///",
        ["See example.com, h.org.", "Or foo.org!", "At a link"],
    ),
    "address in marks": ("**https://x.org** (https://y.org) 看https://z.org。好", ["x.org (y.org) 看z.org。", "好"]),
    "address at the end": ("https://x.org.", ["x.org."]),
    "no address": ("he was why http: or whttps://x", ["he was why http: or whttps://x"]),
    "no address at the end": ("the ht", ["the ht"]),
    "entities": ("a &amp; b &lt;i&gt; &#39;c&#39; AT&T &copyright; x & y &", ["a & b <i> 'c' AT&T ©right;", "x & y &"]),
    "escapes": (r"\*a\* C:\dir 1\. \# x" + "\\", [r"*a* C:\dir 1.", "# x\\"]),
    "bang at the end": ("Hi!", ["Hi!"]),
    "pictures": ("Great 🎉! Yes👍no 👩‍👧 1️⃣ :) ok <3.", ["Great!", "Yes no 1 ok."]),
    "joiner in a word": ("\u0995\u09cd\u200d\u09b7", ["\u0995\u09cd\u200d\u09b7"]),
    "degrees": ("20 °C © 2024", ["20 °C © 2024"]),
    "leading dashes": ("— so\n… and\n.NET is\n-5 is\n: it", ["so", "and", ".NET is", "-5 is", "it"]),
    "empty brackets": ("so (🙂) it [ ] is", ["so it is"]),
}


@pytest.mark.parametrize("name", READ)
def test_markdown(name: str) -> None:
    text, expected = READ[name]
    assert clauses(text) == expected


@pytest.mark.parametrize("text", ["[x](so " + "word " * 80, "```" + "word " * 80 + "\nOk", "<a" + " word" * 80])
def test_text_behind_what_only_looked_like_markup(text: str) -> None:
    assert speakable(text).count("word") == 80


def test_a_full_stop_is_judged_by_what_follows() -> None:
    machine = Clauses()
    assert machine.feed("It is 3.") == []
    assert machine.feed("14") == []
    assert machine.feed(". ") == ["It is 3.14."]
    assert machine.feed("Ok.") == []
    assert machine.flush() == ["Ok."]


def test_an_uncertain_one_by_the_word_behind() -> None:
    machine = Clauses()
    assert machine.feed("At 5 p.m. ") == []
    assert machine.feed("He") == ["At 5 p.m."]


def test_first_clause_ends_early_at_a_comma() -> None:
    text = "Well, to answer you quickly, I would, given the choice, take the train, which is faster, and then walk, ok."
    assert clauses(text) == [
        "Well, to answer you quickly,",
        "I would, given the choice, take the train, which is faster, and then walk, ok.",
    ]
    assert clauses(text, first=5)[0] == "Well,"
    assert clauses(text, first=5, soft=10)[1] == "to answer you quickly,"


@pytest.mark.parametrize("mark", [";", ":", " -", " –", " --", "—", "…", "...", ',"', "、", "，"])
def test_other_places_to_breathe(mark: str) -> None:
    first, second = clauses(f"one two three four five six{mark} seven")
    assert first.startswith("one two three four five six")
    assert second == "seven"


def test_no_pause_inside_numbers_and_words() -> None:
    text = "The number that you asked about is 1,000,000 at 10:30 or well-known"
    assert clauses(text) == [text]


def test_longest() -> None:
    assert clauses("word " * 60, first_longest=20, longest=30)[:2] == [
        "word word word word",
        "word word word word word word",
    ]
    assert clauses("a" * 50, first_longest=20, longest=20) == ["a" * 20, "a" * 20, "a" * 10]
    assert clauses("好" * 50, first_longest=30, longest=60) == ["好" * 10, "好" * 20, "好" * 20]


def test_longest_prefers_a_comma() -> None:
    text = "so we went, and then everybody else went too"
    assert clauses(text, first=25, first_longest=24)[0] == "so we went,"
    assert clauses(text, first=25, first_longest=12)[0] == "so we went,"
    assert clauses("so, we went and then everybody", first_longest=24)[0] == "so, we went and then"


def test_a_mark_stays_with_its_letter() -> None:
    assert clauses("e" * 10 + "\u0301" * 3 + "e", first_longest=10)[0] == "e" * 10 + "\u0301" * 3
    assert max(map(len, clauses("e" + "\u0301" * 90, first_longest=10, longest=10))) <= 20


def test_an_abbreviation_at_the_limit() -> None:
    assert clauses("one two three etc. Next", first_longest=18) == ["one two three etc.", "Next"]


def test_dropped_clauses_do_not_count_as_the_first() -> None:
    assert clauses("🙂\n\none two three four five six, seven")[0] == "one two three four five six,"


def test_flush_begins_anew() -> None:
    machine = Clauses()
    assert machine.feed("one `two **three\n```\ncode") + machine.flush() == ["one two **three", CODE]
    assert machine.feed("# one two three four five six, *seven*") + machine.flush() == [
        "one two three four five six,",
        "seven",
    ]


def test_another_word_for_code() -> None:
    machine = Clauses(code="Quelltext.")
    assert machine.feed("```\nx\n```\n") == ["Quelltext."]


@pytest.mark.parametrize("opening", ["```\n", "~~~~\n", "<think>", "<!--", "[x](", "[x][", "<a ", "&", "[", "![", "`"])
def test_what_never_closes_is_given_up(opening: str) -> None:
    machine = Clauses()
    machine.feed(opening)
    heard = [c for _ in range(SKIPPED // 5 + HELD) for c in machine.feed("word ")]
    assert any("word word" in c for c in heard)


SPEAKABLE = {
    "one line": ("**Hi** there. How, are you", "Hi there. How, are you"),
    "list": ("# Buy:\n- eggs\n- milk!\n- (tea.)\n", "Buy: eggs. milk! (tea.)"),
    "nothing": ("🙂 ***", ""),
    "long": ("a, " * 300, ("a, " * 300).strip()),
    "code": ("```\nx\n```", CODE),
}


@pytest.mark.parametrize("name", SPEAKABLE)
def test_speakable(name: str) -> None:
    text, expected = SPEAKABLE[name]
    assert speakable(text) == expected


PIECES = [
    *"abIZ19 .,!?;:-*_~`#>|[]()<>&\\/\n\n  \"'",
    *("…", "—", "–", "。", "，", "好", "？", "é", "\u0301", "🙂", "\u200d", "\ufe0f", "\u00a0", "\x00"),
    *("word ", "Mr. ", "e.g. ", "etc. ", "No. ", "U.S. ", "3.14", "1. ", "- ", "# ", "```", "~~~", "**", "]("),
    *("https://", "www.", "x.org", "<b>", "</b>", "<think>", "</think>", "<!--", "-->", "&amp;", "![", "[^1]", "| "),
]
markup = st.lists(st.sampled_from(PIECES), max_size=80).map("".join)
texts = st.one_of(markup, st.text(max_size=80))


@settings(max_examples=400, deadline=None, derandomize=True)
@given(texts, st.lists(st.integers(0, 200), max_size=20))
def test_deltas_do_not_matter(text: str, cuts: list[int]) -> None:
    machine = Clauses(first=8, soft=15, longest=40, first_longest=30)
    edges = [0, *sorted(min(c, len(text)) for c in cuts), len(text)]
    said = [c for a, b in pairwise(edges) for c in machine.feed(text[a:b])] + machine.flush()
    assert said == clauses(text, first=8, soft=15, longest=40, first_longest=30)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(texts)
def test_every_clause_can_be_said(text: str) -> None:
    for clause in clauses(text, first=8, soft=15, longest=40, first_longest=30):
        assert clause == clause.strip()
        assert "\n" not in clause
        assert "  " not in clause
        assert any(map(str.isalnum, clause))
        assert len(clause) <= 80
    assert speakable(text) == speakable(text).strip()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["so", "Mr", "etc", "no", "I", "7", "été", "x.org"]),
            st.sampled_from(["", ",", ".", "?", ":"]),
        )
    )
)
def test_no_word_is_lost_or_moved(pairs: list[tuple[str, str]]) -> None:
    text = " ".join(word + mark for word, mark in pairs)
    assert " ".join(clauses(text, first=8, soft=15, longest=40)) == text


@settings(max_examples=15, deadline=None, derandomize=True)
@given(markup)
def test_no_markup_can_silence_what_follows(text: str) -> None:
    machine = Clauses()
    machine.feed(text)
    assert any("word word" in c for c in machine.feed("word " * (SKIPPED // 5 + 2 * HELD)))
