from __future__ import annotations

import io
import json
import re
import socket
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from likewise.demo import runner
from likewise.demo.prompts import DemoPrompt, load_prompts
from likewise.demo.runner import CategoryRow, DemoReport, run_demo
from likewise.demo.show import show
from likewise.errors import ConfigError, UpstreamError
from likewise.testing import running

CATEGORIES = {
    "code",
    "sql",
    "math",
    "general",
    "medical",
    "prices",
    "tech_support",
    "customer_faq",
    "translation",
    "personal",
}


class FakeGateway:
    """Caches by the text in lower case, so that case is the one paraphrase it knows.

    It takes every text with "wrong" in it for the first entry, never caches ``personal``, and
    reports 10 prompt tokens and 20 answer tokens for everything.
    """

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}  # text as stored -> entry id
        self.failing = False

    def app(self) -> Starlette:
        """Return the gateway as an application."""
        return Starlette(routes=[Route("/v1/chat/completions", self.chat, methods=["POST"])])

    async def chat(self, request: Request) -> Response:
        """Answer a chat completion request."""
        if self.failing:
            return JSONResponse({"error": {"message": "no"}}, status_code=503)
        text = (await request.json())["messages"][-1]["content"]
        bypass = request.headers["x-likewise-category"] == "personal"
        headers = {"X-Cache": "BYPASS"} if bypass else self.look_up(text)
        message = {"role": "assistant", "content": "An answer."}
        body = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "fake",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30},
        }
        return JSONResponse(body, headers=headers)

    def look_up(self, text: str) -> dict[str, str]:
        """Return the headers for a text, which is stored when it is new."""
        if text in self.entries:
            entry = {"X-Likewise-Entry": self.entries[text], "X-Likewise-Tier": "exact"}
            return {"X-Cache": "HIT", **entry}
        near = [stored for stored in self.entries if stored.lower() == text.lower()]
        if "wrong" in text:
            near = list(self.entries)
        if near:
            entry = {"X-Likewise-Entry": self.entries[near[0]], "X-Likewise-Tier": "semantic"}
            return {"X-Cache": "HIT", "X-Likewise-Similarity": "0.97", **entry}
        self.entries[text] = f"entry-{len(self.entries)}"
        similarity = {"X-Likewise-Similarity": "0.91"} if len(self.entries) > 1 else {}
        return {"X-Cache": "MISS", "X-Likewise-Entry": self.entries[text], **similarity}


def ignore_progress(done: int, total: int) -> None:
    """Stand in for a progress bar."""


def run(
    gateway: FakeGateway,
    prompts: Sequence[DemoPrompt],
    progress: Callable[[int, int], None] = ignore_progress,
) -> DemoReport:
    """Run the demo against a fake gateway, at 2 dollars in and 6 dollars out."""
    with running(gateway.app()) as url:
        return run_demo(
            f"{url}/v1",
            model="fake",
            prompts=prompts,
            progress=progress,
            price_in=2.0,
            price_out=6.0,
        )


PROMPTS = [
    DemoPrompt("code", "a", "How to A?"),
    DemoPrompt("math", "one", "What is 1?"),
    DemoPrompt("code", "b", "How to B?", unlike="a"),
    DemoPrompt("code", "a", "How to A?"),
    DemoPrompt("math", "one", "what is 1?"),
    DemoPrompt("math", "two", "What is wrong?", unlike="one"),
    DemoPrompt("personal", "me", "Who am I?"),
    DemoPrompt("personal", "me", "Who am I?"),
]


@pytest.fixture(scope="module")
def report() -> DemoReport:
    """The report on PROMPTS: one exact, one semantic and one wrong hit, two bypassed."""
    return run(FakeGateway(), PROMPTS)


def test_ten_categories_of_thirty() -> None:
    """The demo asks 300 prompts, 30 in each of its categories."""
    counts = Counter(prompt.category for prompt in load_prompts())
    assert counts == dict.fromkeys(CATEGORIES, 30)


def test_prompts_have_a_fixed_order() -> None:
    """Two loads agree, so that two runs see the same traffic."""
    assert load_prompts() == load_prompts()


def test_prompts_take_turns() -> None:
    """Any ten prompts of one turn are of ten categories, and the turns differ in order."""
    categories = [prompt.category for prompt in load_prompts()]
    turns = [tuple(categories[at : at + 10]) for at in range(0, 300, 10)]
    assert all(set(turn) == CATEGORIES for turn in turns)
    assert len(set(turns)) > 1


def test_new_questions_come_first() -> None:
    """A category asks something new in every group before it repeats or rephrases anything."""
    keys: dict[str, list[str]] = defaultdict(list)
    for prompt in load_prompts():
        keys[prompt.category].append(prompt.key)
    for asked in keys.values():
        groups = len(set(asked))
        assert len(set(asked[:groups])) == groups


def test_a_text_has_one_group() -> None:
    """The same text, whatever its case and spacing, is never in two groups."""
    groups: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for prompt in load_prompts():
        text = " ".join(prompt.text.lower().split())
        groups[text].add((prompt.category, prompt.key))
    assert [text for text, found in groups.items() if len(found) > 1] == []


def test_keys_are_slugs_and_used_once() -> None:
    """Every key is a short slug; a group's prompts are all of its category's prompts with it."""
    prompts = load_prompts()
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", prompt.key) for prompt in prompts)
    assert all(len(prompt.key) <= 30 for prompt in prompts)
    firsts = [(prompt.category, prompt.key, prompt.unlike) for prompt in prompts]
    groups = {(category, key) for category, key, _ in firsts}
    assert len(set(firsts)) == len(groups)


def test_look_alikes_follow_what_they_resemble() -> None:
    """Each category has at least four look-alikes, each asked after its original and not it."""
    seen: set[tuple[str, str]] = set()
    look_alikes: dict[str, set[str]] = defaultdict(set)
    for prompt in load_prompts():
        if prompt.unlike is not None:
            assert prompt.unlike != prompt.key
            assert (prompt.category, prompt.unlike) in seen
            look_alikes[prompt.category].add(prompt.key)
        seen.add((prompt.category, prompt.key))
    assert {category for category, keys in look_alikes.items() if len(keys) >= 4} == CATEGORIES


@pytest.mark.parametrize("category", sorted(CATEGORIES))
def test_the_mix_of_a_category(category: str) -> None:
    """About half of a category is new, and it has exact repeats and paraphrases."""
    texts: dict[str, list[str]] = defaultdict(list)
    new = set()
    for prompt in load_prompts():
        if prompt.category == category:
            texts[prompt.key].append(prompt.text)
            if prompt.unlike is None:
                new.add(prompt.key)
    repeats = sum(len(asked) - len(set(asked)) for asked in texts.values())
    paraphrases = sum(len(set(asked)) - 1 for asked in texts.values())
    assert 12 <= len(new) <= 16
    assert 4 <= repeats <= 7
    assert 5 <= paraphrases <= 8


def test_prompts_hold_no_directive() -> None:
    """No prompt makes the stand-in misbehave by accident."""
    assert not any("[[" in prompt.text for prompt in load_prompts())


def count(row: CategoryRow) -> tuple[int, ...]:
    """Return a row's whole numbers: asked, exact, semantic, wrong, unjudged, bypassed."""
    hits = (row.exact_hits, row.semantic_hits, row.wrong_hits, row.unjudged_hits)
    return (row.asked, *hits, row.bypassed)


def test_counts_per_category(report: DemoReport) -> None:
    """Hits of both kinds, wrong ones and bypassed prompts are counted where they belong."""
    assert {row.category: count(row) for row in report.rows} == {
        "code": (3, 1, 0, 0, 0, 0),
        "math": (3, 0, 2, 1, 0, 0),
        "personal": (2, 0, 0, 0, 0, 2),
    }
    assert count(report.total) == (8, 1, 2, 1, 0, 2)
    assert report.total.hits == 3


def test_money(report: DemoReport) -> None:
    """A hit of 10 and 20 tokens saves 10 x 2 and 20 x 6 millionths of a dollar."""
    saved = {row.category: row.saved_money for row in report.rows}
    assert saved == pytest.approx({"code": 140e-6, "math": 280e-6, "personal": 0.0})
    assert report.total.saved_money == pytest.approx(420e-6)


def test_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Medians and savings follow from the seconds around each call, here from a fake clock."""
    took = iter([4.0, 6.0, 8.0, 1.0, 3.0])
    now = 0.0
    inside = False

    def tell_time() -> float:
        nonlocal now, inside
        now += next(took) if inside else 100.0
        inside = not inside
        return now

    monkeypatch.setattr(runner, "time", SimpleNamespace(perf_counter=tell_time))
    texts = ["A?", "B?", "C?", "A?", "a?"]
    prompts = [DemoPrompt("code", text[0].lower(), text) for text in texts]
    (row,) = run(FakeGateway(), prompts).rows
    assert row.miss_s == 6.0
    assert row.hit_s == 2.0
    assert row.saved_s == (6.0 - 1.0) + (6.0 - 3.0)


def test_no_hits_no_medians(report: DemoReport) -> None:
    """A category that was never looked up has no medians and saves nothing."""
    personal = report.rows[-1]
    assert (personal.hit_s, personal.miss_s, personal.saved_s) == (None, None, 0.0)


def test_pairs(report: DemoReport) -> None:
    """Wrong hits, reused answers and look-alikes turned away come with both texts."""
    (wrong,) = report.wrong
    # Everything "wrong" is served the first entry, which belongs to another category.
    assert (wrong.asked, wrong.stored, wrong.similarity) == ("What is wrong?", "How to A?", 0.97)
    (reused,) = report.reused
    assert (reused.asked, reused.stored) == ("what is 1?", "What is 1?")
    (turned_away,) = report.turned_away
    assert (turned_away.asked, turned_away.stored) == ("How to B?", "How to A?")
    assert turned_away.similarity == 0.91


def test_hits_on_foreign_entries_are_not_judged() -> None:
    """A hit on an entry from before the run is neither right nor wrong."""
    gateway = FakeGateway()
    gateway.look_up("How to A?")
    report = run(gateway, PROMPTS[:1])
    assert count(report.total) == (1, 1, 0, 0, 1, 0)
    assert report.wrong == report.reused == ()
    assert "stored before this run" in " ".join(print_report(report, width=100).split())


def test_progress_is_told() -> None:
    """After each prompt, progress hears how many of how many are done."""
    calls: list[tuple[int, int]] = []
    run(FakeGateway(), PROMPTS[:3], progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_report_as_json(report: DemoReport) -> None:
    """The report survives JSON, with the names of its fields."""
    document = json.loads(json.dumps(report.to_dict()))
    assert set(document) == {"rows", "total", "wrong", "reused", "turned_away"}
    assert document["total"]["wrong_hits"] == 1
    assert document["wrong"][0]["stored"] == "How to A?"


def test_an_error_ends_the_demo() -> None:
    """An error from the gateway is reported by its status, without the prompt."""
    gateway = FakeGateway()
    gateway.failing = True
    with pytest.raises(UpstreamError, match="answered 503") as caught:
        run(gateway, PROMPTS)
    assert "How to A?" not in str(caught.value)


def test_nobody_listens() -> None:
    """An address where nothing listens is an UpstreamError too."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    with pytest.raises(UpstreamError, match="did not answer"):
        run_demo(
            url,
            model="fake",
            prompts=PROMPTS,
            progress=ignore_progress,
            price_in=1.0,
            price_out=1.0,
        )


def test_not_a_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not speak of its cache is not taken for one that never hits."""
    gateway = FakeGateway()
    monkeypatch.setattr(gateway, "look_up", lambda text: {})
    with pytest.raises(ConfigError, match="X-Cache"):
        run(gateway, PROMPTS)


def test_without_the_openai_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'likewise[demo]'")):
        run(FakeGateway(), PROMPTS)


def print_report(report: DemoReport, *, width: int) -> str:
    """Return what `show` prints on a terminal of that width."""
    console = Console(file=io.StringIO(), width=width)
    show(report, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_show(report: DemoReport) -> None:
    """Every category, the total, the wrong hit and the examples are there, 100 columns wide."""
    text = print_report(report, width=200)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert [line.split()[0] for line in lines[1:6]] == [
        "category",
        "code",
        "math",
        "personal",
        "total",
    ]
    assert lines[5].split()[1:6] == ["8", "1", "2", "1", "2"]
    assert "1 of 3 hits were wrong" in text
    assert re.search(r"served the answer of +What is 1\?", text)
    assert re.search(r"not given the answer of +How to A\?", text)
    assert "similarity 0.910" in text


def test_show_without_wrong_hits() -> None:
    """A clean run says so, and shows no empty headings."""
    text = print_report(run(FakeGateway(), PROMPTS[:4]), width=100)
    assert "No hit was wrong" in text
    assert "Wrong hits" not in text
    assert "Answers reused" not in text


@pytest.mark.parametrize("width", [80, 100])
def test_show_a_full_run(width: int) -> None:
    """The report on all 300 prompts keeps within the terminal, with every column in full."""
    text = print_report(run(FakeGateway(), load_prompts()), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "customer_faq" in text
    assert "similar" in text
    assert "…" not in text


@pytest.fixture(scope="module")
def whole_demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ``likewise demo`` measures, over a stand-in that hardly waits."""
    done = subprocess.run(
        [sys.executable, "-m", "likewise", "demo", "--json", "--latency", "1ms"],
        cwd=tmp_path_factory.mktemp("demo"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_the_whole_demo(whole_demo: dict[str, Any]) -> None:
    """All prompts are asked, personal ones all bypassed, equal ones hit, and few hits are wrong."""
    rows = {row["category"]: row for row in whole_demo["rows"]}
    total = whole_demo["total"]
    assert {name: row["asked"] for name, row in rows.items()} == dict.fromkeys(CATEGORIES, 30)
    assert total["asked"] == 300
    assert rows["personal"]["bypassed"] == total["bypassed"] == 30
    repeats = Counter((p.category, p.text) for p in load_prompts() if p.category != "personal")
    assert total["exact_hits"] == sum(count - 1 for count in repeats.values())
    assert total["semantic_hits"] >= 15
    assert total["wrong_hits"] <= 3
    assert total["unjudged_hits"] == 0


def test_the_whole_demo_adds_up(whole_demo: dict[str, Any]) -> None:
    """The total is the sum of its categories, and the lists are as long as their counts."""
    rows, total = whole_demo["rows"], whole_demo["total"]
    for name in ("asked", "exact_hits", "semantic_hits", "wrong_hits", "bypassed"):
        assert total[name] == sum(row[name] for row in rows)
    for name in ("saved_s", "saved_money"):
        assert total[name] == pytest.approx(sum(row[name] for row in rows))
    assert len(whole_demo["wrong"]) == total["wrong_hits"]
    assert len(whole_demo["reused"]) <= total["semantic_hits"]
    for row in rows:
        hits = row["exact_hits"] + row["semantic_hits"]
        assert (row["hit_s"] is None) == (hits == 0)
        assert (row["saved_money"] > 0) == (hits > 0)
