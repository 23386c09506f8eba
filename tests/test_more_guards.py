"""Guards on what an embedder does not see, and on words that exclude one another."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from likewise.guards import GUARDS, identifiers, opposites, order, spelling, veto

DIFFERENT = [
    ("identifiers", "git branch -d old", "git branch -D old"),
    ("identifiers", r"what does \d+ match", r"what does \D+ match"),
    ("identifiers", "strftime with %M", "strftime with %m"),
    ("identifiers", "is a == b", "is a === b"),
    ("identifiers", "rows where x > 3", "rows where x < 3"),
    ("identifiers", "what is my_var here", "what is my_val here"),
    ("identifiers", "what calls getUser", "what calls getUsers"),
    ("identifiers", 'find files named "a b"', 'find files named "a c"'),
    ("identifiers", "edit /etc/hosts", "edit /etc/hostname"),
    ("spelling", "Translate: ich habe schon gegessen", "Translate: ich habe schön gegessen"),
    ("spelling", "Should I take it?", "Should I n\u043et take it?"),
    ("spelling", "Should I take it?", "Should I n\u200bot take it?"),
    ("spelling", "what does año mean", "what does ano mean"),
    ("spelling", "What does IT mean?", "What does it mean?"),
    ("spelling", "what is printed\nif x:\n  a()\n  b()", "what is printed\nif x:\n  a()\nb()"),
    ("order", "Is Ann taller than Bob?", "Is Bob taller than Ann?"),
    ("order", "Did Liverpool beat Arsenal?", "Did Arsenal beat Liverpool?"),
    ("order", "exchange rate USD EUR", "exchange rate EUR USD"),
    ("order", "what is 8 / 4", "what is 4 / 8"),
    ("order", "Tom has 3, Ann has 5", "Tom has 5, Ann has 3"),
    ("opposites", "open on Monday", "open on Tuesday"),
    ("opposites", "sort ascending", "sort descending"),
    ("opposites", "is it legal to fish", "is it illegal to fish"),
    ("opposites", "age greater than 30", "age less than 30"),
]
ALIKE = [
    ("what's the capital of peru?", "What is the capital of Peru?"),
    ("current gold price per ounce", "Current price of gold per ounce, please"),
    ("How do I use `git log`?", "how do i use git log"),
    ("What is SQL?", "what is sql?"),
    ("il a mangé à midi", "A midi, il a mangé à midi"),
    ("from Monday to Tuesday", "between Tuesday and Monday"),
    ("  How do I undo a commit?\n", "How do I undo a commit?"),
]


@pytest.mark.parametrize(("guard", "a", "b"), DIFFERENT)
def test_a_difference_is_vetoed_both_ways(guard: str, a: str, b: str) -> None:
    """The guard made for it objects, whichever text was stored first, and says its name."""
    for left, right in ((a, b), (b, a)):
        seen = GUARDS[guard](left, right)
        assert seen is not None
        assert seen.startswith(guard)


@pytest.mark.parametrize(("a", "b"), ALIKE)
def test_what_means_the_same_passes(a: str, b: str) -> None:
    """Case, politeness, quotation marks and white space at the ends are no difference."""
    assert veto(("identifiers", "spelling", "order", "opposites"), a, b) is None


@settings(max_examples=1000, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
@example("A0À", "")
@example("O0Ò", "O")
def test_any_texts_are_judged_alike_both_ways(a: str, b: str) -> None:
    """No text makes a guard fail, and the order of the two does not matter to its verdict."""
    for guard in (identifiers, spelling, order, opposites):
        assert (guard(a, b) is None) == (guard(b, a) is None)
        assert guard(a, a) is None


def test_no_running_text_is_reported() -> None:
    """What a guard says holds no word of the texts."""
    said = [GUARDS[guard](a, b) or "" for guard, a, b in DIFFERENT]
    assert not any(word in line for line in said for word in ("Liverpool", "my_var", "Monday"))


@pytest.mark.parametrize(
    ("guard", "a", "b"),
    [
        ("names", "Who is the wife of Obama?", "Who is the wife of Putin?"),
        ("names", "what does the CPU do", "what does the GPU do"),
        ("languages", "sort a list in Python", "sort a list in Java"),
        ("languages", "say thanks in french", "say thanks in Spanish"),
        ("languages", "read a file in c++", "read a file in c#"),
        ("dates", "flights on Monday", "flights on tuesday"),
        ("dates", "wake me at 5 am", "wake me at 5 p.m."),
        ("dates", "sales of last week", "sales of this week"),
        ("dates", "is it open today", "is it open tomorrow"),
        ("comparison", "files with more than 5 lines", "files with less than 5 lines"),
        ("comparison", "at least 8 characters", "at most 8 characters"),
        ("comparison", "find -size >10", "find -size <10"),
    ],
)
def test_a_changed_meaning_is_seen(guard: str, a: str, b: str) -> None:
    """The guard objects either way round, and names itself."""
    for left, right in ((a, b), (b, a)):
        seen = GUARDS[guard](left, right)
        assert seen is not None
        assert seen.startswith(f"{guard}: ")


@pytest.mark.parametrize(
    ("guard", "a", "b"),
    [
        ("names", "Who is the wife of Obama?", "who is obama's wife"),
        ("names", "What Does Medicare Cover?", "Does Life Insurance Pay Out?"),
        ("names", "How do I undo it?", "Undo it, please"),
        ("names", "HOW DO I UNDO IT", "WHAT IS GIT"),
        ("languages", "sort a list", "sort a list in Python"),
        ("dates", "flights on Mon", "flights on monday"),
        ("dates", "I am here", "who am I"),
        ("dates", "when is it open", "when is it open today"),
        ("comparison", "more than 5", "over 5"),
        ("comparison", "a list of files", "more files"),
        ("comparison", "", ""),
    ],
)
def test_what_does_not_change_the_meaning_passes(guard: str, a: str, b: str) -> None:
    """Other wordings, and what only one text says, are no objection."""
    assert GUARDS[guard](a, b) is None
    assert GUARDS[guard](b, a) is None
