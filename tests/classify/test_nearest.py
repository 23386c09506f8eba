"""Naming categories by examples: the classifier, its lint, and what the engine makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from likewise import Bypass, Cache, Category, Hit, Miss
from likewise.bench.categories import choose, held_out, measure, texts_of
from likewise.bench.prompts import Embedded, Prompt
from likewise.category import TAXONOMY
from likewise.classify import nearest as module
from likewise.classify.examples import builtin_examples, merged, read_examples
from likewise.classify.lint import lint
from likewise.classify.nearest import Nearest, fit_nearest, rows_of
from likewise.classify.style import STYLE, style_of
from likewise.config import Config, EmbeddingSettings, Policies, parse
from likewise.embed import Vectors
from likewise.errors import ConfigError, EmbedderError
from likewise.faults import Faults
from likewise.naming import Namer, strictest
from likewise.opening import embedder_of, nearest_of
from likewise.policy import Reason
from likewise.request import Controls, Request
from likewise.stats import Stats
from likewise.testing import HashingEmbedder

FRUIT = [f"{word} {fruit}" for fruit in ("apple", "pear", "plum") for word in "abcdefgh"]
TOOLS = [f"{word} {tool}" for tool in ("hammer", "wrench", "pliers") for word in "abcdefgh"]
EXAMPLES = {"fruit": FRUIT, "tools": TOOLS}


@pytest.fixture(scope="module")
def hashing() -> HashingEmbedder:
    """An embedder that knows words, and so these two categories."""
    return HashingEmbedder(256)


@pytest.fixture(scope="module")
def fitted(hashing: HashingEmbedder) -> Nearest:
    """A classifier of fruit and tools."""
    return fit_nearest(EXAMPLES, hashing, keep=False)


def guess(fitted: Nearest, hashing: HashingEmbedder, text: str) -> module.Guess:
    """What a classifier says of a text."""
    return fitted.guess(text, hashing.embed([text])[0])


def test_examples_name_what_is_like_them(fitted: Nearest, hashing: HashingEmbedder) -> None:
    """A text that shares words with one category's examples is of this category, surely."""
    found = guess(fitted, hashing, "x plum pear")
    assert found.category == "fruit"
    assert found.confidence > 0.9
    assert sum(found.probabilities) <= 1.0 + 1e-6


def test_probabilities_are_honest_where_categories_overlap() -> None:
    """On fresh points of two clouds that overlap, confidence is about the share named rightly."""
    rng = np.random.default_rng(3)
    labels = np.arange(400) % 2

    def points() -> np.ndarray:
        found = rng.normal(size=(len(labels), 16))
        found[:, 0] += np.where(labels == 0, 4.0, 3.0)
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))

    styles = np.tile(style_of("what is this?"), (len(labels), 1)).astype(np.float64)
    fitted = module.Rows(("a", "b"), ["?"] * len(labels), labels, points(), styles).fit()
    found = [fitted.guess("what is this?", row.astype(np.float32)) for row in points()]
    right = np.mean([g.category == "ab"[label] for g, label in zip(found, labels, strict=True)])
    assert 0.55 < right < 0.9
    assert abs(np.mean([g.confidence for g in found]) - right) < 0.1


def test_what_is_like_nothing_has_no_category(fitted: Nearest) -> None:
    """A vector at right angles to every centre is named by nobody."""
    away = np.linalg.svd(fitted.centres)[2][-1].astype(np.float32)
    found = fitted.guess("?", away)
    assert found.category is None
    assert found.confidence == 0.0


def test_a_fit_is_kept_and_read_back(
    hashing: HashingEmbedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second fit embeds nothing; a damaged file is fitted anew."""
    monkeypatch.setenv("LIKEWISE_CACHE_DIR", str(tmp_path))
    first = fit_nearest(EXAMPLES, hashing)
    (path,) = tmp_path.iterdir()
    monkeypatch.setattr(hashing, "embed", None)
    second = fit_nearest(EXAMPLES, hashing)
    assert second.names == first.names
    assert np.array_equal(second.weights, first.weights)
    monkeypatch.undo()
    monkeypatch.setenv("LIKEWISE_CACHE_DIR", str(tmp_path))
    path.write_bytes(b"PK damaged")
    assert np.array_equal(fit_nearest(EXAMPLES, hashing).weights, first.weights)


def test_style_has_its_length_and_is_finite() -> None:
    """Whatever the text."""
    for text in ("", " ", "?", "How?\n" * 50, "日本語の質問", "SELECT a FROM b;", "don't"):
        values = style_of(text)
        assert len(values) == STYLE
        assert np.isfinite(np.array(values, np.float64)).all()


def test_builtin_examples_cover_the_taxonomy() -> None:
    """At least 60 varied prompts of every built-in category, none in two of them."""
    examples = builtin_examples()
    assert set(examples) == set(TAXONOMY)
    assert all(len(set(texts)) >= 60 for texts in examples.values())
    every = [text.casefold() for texts in examples.values() for text in texts]
    assert len(every) == len(set(every))


def test_builtin_examples_are_not_among_what_they_are_measured_on() -> None:
    """Neither a prompt of the demo nor one that was held out is an example."""
    measured = {text.casefold() for _, text in held_out()}
    assert len(measured) > 400
    assert not measured & {t.casefold() for texts in builtin_examples().values() for t in texts}


def test_lint_finds_contradictions_and_few_and_doubtful(hashing: HashingEmbedder) -> None:
    """One text in two categories, a category of three, an example of the wrong kind."""
    found = lint(
        {"fruit": [*FRUIT, "z wrench"], "tools": [*TOOLS, "a apple"], "few": ["u", "v", "w"]},
        hashing,
    )
    assert found.few == ["few"]
    assert any(set(pair.texts) == {"a apple"} for pair in found.contradictions)
    assert any(doubt.text == "z wrench" and doubt.like == "tools" for doubt in found.doubtful)
    assert not found.clean
    assert lint(EXAMPLES, hashing).clean


def test_examples_from_a_file(tmp_path: Path) -> None:
    """One prompt a line; a missing and an empty file are named with their key."""
    path = tmp_path / "kites.txt"
    path.write_text("how do kites fly\n\nwhich string for a kite\n", "utf-8")
    assert read_examples(path, what="x") == ["how do kites fly", "which string for a kite"]
    config = {"categories": {"kites": {"examples": "kites.txt"}}}
    assert parse(config, path=tmp_path / "c.yaml").examples["kites"][0] == "how do kites fly"
    with pytest.raises(ConfigError, match=r"categories\.kites\.examples: cannot read"):
        parse(config, path=tmp_path / "elsewhere" / "c.yaml")
    path.write_text("\n", "utf-8")
    with pytest.raises(ConfigError, match="holds no example"):
        parse(config, path=tmp_path / "c.yaml")


def test_examples_in_the_config() -> None:
    """They join those that ship; without these, or disabled, there are only the user's or none."""
    own = {"categories": {"kites": {"examples": ["how do kites fly"]}}}
    assert set(parse(own).examples) == {*TAXONOMY, "kites"}
    bare = parse(own | {"classification": {"builtin_examples": False}})
    assert dict(bare.examples) == {"kites": ("how do kites fly",)}
    assert not parse(own | {"classification": {"enabled": False}}).examples
    for wrong in (
        {"categories": {"kites": {"examples": [" "]}}},
        {"defaults": {"examples": ["a"]}},
    ):
        with pytest.raises(ConfigError, match="examples"):
            parse(wrong)


def test_a_text_counts_once() -> None:
    """Sources of examples are joined without doubles."""
    assert merged([{"a": ["x", "y"]}, {"a": ["y"], "b": ["z"]}]) == {"a": ("x", "y"), "b": ("z",)}


def test_an_embedder_that_cannot_tell_is_not_asked(hashing: HashingEmbedder) -> None:
    """Hashed words do not tell fifteen categories apart; one category is no choice."""
    assert nearest_of(builtin_examples(), hashing) is None
    assert nearest_of({"only": FRUIT}, hashing) is None


def test_an_embedder_that_fails_leaves_the_default(
    hashing: HashingEmbedder, caplog: pytest.LogCaptureFixture
) -> None:
    """Opening goes on, with a warning."""

    class Broken(HashingEmbedder):
        def embed(self, texts: object) -> Vectors:
            raise EmbedderError("no answer")

    examples = {"fruit": [*FRUIT, "fresh"], "tools": TOOLS}
    assert nearest_of(examples, Broken(256)) is None
    assert "no answer" in caplog.text


def test_the_strictest_policy_allows_only_what_all_do() -> None:
    """Every value that can be strict is the strictest; name, quota and epoch are the first's."""
    first = Category(
        "a", similarity_threshold=0.9, ttl=100.0, quota=0.2, epoch=3, guards=("units",)
    )
    second = Category(
        "b", similarity_threshold=0.95, ttl=None, probability_threshold=0.8, exact_only=True,
        cacheable=False, guards=("numbers",), max_turns=1, max_temperature=0.1, error_budget=0.01,
    )  # fmt: skip
    both = strictest([first, second])
    assert (both.name, both.quota, both.epoch) == ("a", 0.2, 3)
    assert (both.similarity_threshold, both.ttl_s, both.probability_threshold) == (0.95, 100.0, 0.8)
    assert both.exact_only
    assert not both.cacheable
    assert both.guards == ("units", "numbers")
    assert (both.max_turns, both.max_temperature, both.error_budget) == (1, 0.1, 0.01)
    assert strictest([first]) is first


def cache_of(hashing: HashingEmbedder, **policies: Category) -> Cache:
    """A cache whose categories are told by examples."""
    listed = {"fruit": Category("fruit", similarity_threshold=0.6, guards=())} | policies
    listed = {"tools": Category("tools", similarity_threshold=0.6, guards=())} | listed
    return Cache(
        store="memory://",
        embedder=hashing,
        categories=Policies(Category("default"), listed),
        rules=(),
        examples=EXAMPLES,
    )


def test_an_unnamed_question_is_stored_and_served_in_its_category(
    hashing: HashingEmbedder,
) -> None:
    """To the letter, in other words, and the statistics tell so."""
    with cache_of(hashing) as cache:
        entry = cache.store("ripe plum pear", "yes")
        assert entry is not None
        assert (entry.category, entry.named) == ("fruit", False)
        exact, similar = cache.check("ripe plum pear"), cache.check("ripe plum pear now")
        assert isinstance(exact, Hit)
        assert isinstance(similar, Hit)
        assert exact.category == similar.category == "fruit"
        assert similar.tier == "semantic"
        assert cache.stats()["categories"]["fruit"]["by_examples"] == 1
        assert isinstance(cache.check("ripe plum pear", category="fruit"), Hit)
        assert isinstance(cache.check("ripe plum pear", category="tools"), Miss)


def test_the_exact_tier_needs_no_vector(
    hashing: HashingEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unnamed question asked to the letter is known before it is embedded."""
    with cache_of(hashing) as cache:
        cache.store("ripe plum pear", "yes")
        monkeypatch.setattr(cache._engine._vectors, "of", None)
        assert isinstance(cache.check("ripe plum pear"), Hit)


def test_a_category_named_by_examples_may_forbid_storing(hashing: HashingEmbedder) -> None:
    """What examples call uncacheable is neither stored nor served; exact only stays so."""
    with cache_of(hashing, fruit=Category("fruit", cacheable=False)) as cache:
        assert cache.store("ripe plum pear", "yes") is None
        decision = cache.check("ripe plum pear")
        assert isinstance(decision, Bypass)
        assert decision.category == "fruit"
    with cache_of(hashing, fruit=Category("fruit", exact_only=True)) as cache:
        assert cache.store("ripe plum pear", "yes") is not None
        assert isinstance(cache.check("ripe plum pear"), Hit)
        miss = cache.check("ripe plum pear now")
        assert isinstance(miss, Miss)
        assert miss.reason is Reason.EXACT_ONLY


class Torn:
    """Says of every question that it may be fruit or a tool."""

    def __init__(self, **likely: float) -> None:
        self.found = module.Guess(tuple(likely), tuple(likely.values()))

    def guess(self, question: str, vector: Vectors) -> module.Guess:
        """See ``Nearest.guess``."""
        return self.found


def test_in_doubt_the_strictest_policy_holds(hashing: HashingEmbedder) -> None:
    """Below the confidence asked for a question needs what every likely category needs."""
    strict = Category("tools", similarity_threshold=0.999, guards=())
    for probabilities, threshold, doubtful in (((0.55, 0.45), 0.999, 1), ((0.7, 0.3), 0.6, 0)):
        with cache_of(hashing, tools=strict) as cache:
            fruit, tools = probabilities
            cache._engine.book.namer._nearest = Torn(fruit=fruit, tools=tools)  # type: ignore[assignment]
            cache.store("ripe plum pear", "x")
            found = cache.explain("ripe plum pear now")
            assert found.category_by == "examples"
            assert found.likely == {"fruit": fruit, "tools": tools}
            assert found.threshold == threshold
            assert isinstance(cache.check("ripe plum pear now"), Miss if doubtful else Hit)
            assert cache.stats()["categories"]["fruit"].get("in_doubt", 0) == doubtful


@pytest.mark.parametrize(
    ("own", "kind"),
    [
        (Category("tools", similarity_threshold=0.6, epoch=4, guards=()), Hit),
        (Category("tools", similarity_threshold=0.999, guards=()), Miss),
        (Category("tools", similarity_threshold=0.6, exact_only=True, guards=()), Miss),
    ],
)
def test_an_entry_of_another_likely_category_needs_its_own_policy_too(
    hashing: HashingEmbedder, own: Category, kind: type
) -> None:
    """It is found in the other partition, and only served when both policies allow it."""
    with cache_of(hashing, tools=own) as cache:
        cache._engine.book.namer._nearest = Torn(fruit=0.9, tools=0.1)  # type: ignore[assignment]
        cache.store("ripe plum pear", "x", category="tools")
        assert isinstance(cache.check("ripe plum pear now"), kind)


def test_an_entry_of_another_likely_category_is_revoked_by_its_own_epoch(
    hashing: HashingEmbedder,
) -> None:
    """Its category's epoch counts, not that of the question's."""
    with cache_of(hashing, tools=Category("tools", similarity_threshold=0.6, guards=())) as cache:
        engine = cache._engine
        engine.book.namer._nearest = Torn(fruit=0.9, tools=0.1)  # type: ignore[assignment]
        cache.store("ripe plum pear", "x", category="tools")
        listed = dict(engine.force.policies.categories)
        listed["tools"] = Category("tools", similarity_threshold=0.6, guards=(), epoch=1)
        engine.force.policies = Policies(Category("default"), listed)
        assert isinstance(cache.check("ripe plum pear now"), Miss)


def test_a_pair_marked_wrong_stays_wrong_without_a_name(hashing: HashingEmbedder) -> None:
    """Feedback on a hit of an unnamed question, by entry alone and with the question."""
    for question in (None, "ripe plum pear now"):
        with cache_of(hashing) as cache:
            entry = cache.store("ripe plum pear", "yes")
            assert entry is not None
            assert isinstance(cache.check("ripe plum pear now"), Hit)
            assert cache.feedback(entry.id, correct=False, question=question)
            assert isinstance(cache.check("ripe plum pear now"), Miss)
            assert isinstance(cache.check("ripe plum pear"), Hit)


def test_unnamed_entries_survive_a_restart(hashing: HashingEmbedder, tmp_path: Path) -> None:
    """The key of the exact tier is the same after a rebuild from the file."""
    config = Config(policies=Policies(Category("default"), {}), examples=EXAMPLES)
    config.settings.store = f"sqlite:///{tmp_path / 'a.db'}"
    with Cache.open(config, embedder=hashing) as cache:
        cache.store("ripe plum pear", "yes")
    with Cache.open(config, embedder=hashing) as cache:
        hit = cache.check("ripe plum pear")
        assert isinstance(hit, Hit)
        assert hit.tier == "exact"


def test_a_receipt_tells_what_named_the_category(hashing: HashingEmbedder) -> None:
    """Who named it, how likely which category was, and whose policies held."""
    with cache_of(hashing) as cache:
        cache.store("ripe plum pear", "yes")
        cache.check("ripe plum pear now")
        cache.check("ripe plum pear")
        last, before = list(cache._engine.receipts._held.values())[::-1][:2]
        assert last.to_dict()["category_by"] == "entry"
        told = before.to_dict()
        assert told["category_by"] == "examples"
        assert next(iter(told["likely"])) == "fruit"
        assert told["strictest_of"] == ["fruit"]


def test_a_question_too_long_to_embed_is_of_the_default(hashing: HashingEmbedder) -> None:
    """It is kept under the default's policy, and served to the letter."""
    with cache_of(hashing) as cache:
        cache._engine.embedder.fits = lambda text: len(text) < 10  # type: ignore[method-assign]
        entry = cache.store("ripe plum pear", "yes")
        assert entry is not None
        assert entry.category == "default"
        assert isinstance(cache.check("ripe plum pear"), Hit)
        del cache._engine.embedder.fits


def test_the_namer_asks_in_order(fitted: Nearest, hashing: HashingEmbedder) -> None:
    """Caller, then classifiers, then examples; without these the default."""

    class Says:
        def classify(self, request: Request) -> str | None:
            return "said" if "please" in request.question else None

    namer = Namer(Policies(), [("rule", Says())], fitted, faults=Faults(Stats()))
    said = namer.at_once(Request("please"))
    assert said is not None
    assert (said.category, said.by) == ("said", "rule")
    assert namer.at_once(Request("plum")) is None
    assert namer.by_examples("plum", hashing.embed(["a plum"])[0]).category == "fruit"
    assert namer.otherwise.by == "default"


def test_names_that_callers_invent_go_on_counting() -> None:
    """Other policies in force are no way round the bound on them."""
    faults = Faults(Stats())

    def name(namer: Namer, wanted: str) -> str:
        naming = namer.at_once(Request("q", controls=Controls(category=wanted)))
        assert naming is not None
        return naming.category

    first = Namer(Policies(), [], None, faults=faults)
    assert [name(first, f"own-{n}") for n in range(1_001)][-2:] == ["own-999", "default"]
    second = Namer(Policies(), [], None, faults=faults, before=first)
    assert (name(second, "own-5"), name(second, "another")) == ("own-5", "default")


def test_builtin_examples_name_prompts_they_have_not_seen() -> None:
    """With the default embedder, on every fifth prompt held out; the whole is in the benchmark."""
    embedder = embedder_of(EmbeddingSettings())
    nearest = nearest_of(builtin_examples(), embedder)
    assert nearest is not None
    prompts = [(name, text) for name, text in held_out()[::5] if embedder.fits(text)]
    right = sum(
        nearest.guess(text, embedder.embed([text])[0]).category == name for name, text in prompts
    )
    assert right / len(prompts) > 0.7


def test_rows_leave_out_what_the_embedder_cannot_read(hashing: HashingEmbedder) -> None:
    """Neither are they embedded nor do they count."""

    class Short(HashingEmbedder):
        def fits(self, text: str) -> bool:
            return len(text) < 9

    assert len(rows_of(EXAMPLES, Short(64)).texts) == sum(
        len(text) < 9 for texts in EXAMPLES.values() for text in texts
    )


def test_an_embedder_that_knows_none_of_the_examples_is_no_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whether it reads none of them, or raises what it likes: opening goes on."""

    class Knows(HashingEmbedder):
        def fits(self, text: str) -> bool:
            return text == "known"

    class Raises(HashingEmbedder):
        name = "raises/1"

        def fits(self, text: str) -> bool:
            raise KeyError(text)

    for embedder in (Knows(64), Raises(64)):
        assert nearest_of({"fruit": [*FRUIT, "x"], "tools": TOOLS}, embedder) is None
    assert "KeyError" in caplog.text
    with pytest.raises(ConfigError, match="there are 1 such"):
        rows_of({"fruit": FRUIT, "tools": ["one"]}, HashingEmbedder(64))


def test_what_cannot_be_named_is_not_kept(hashing: HashingEmbedder) -> None:
    """While the embedder fails nobody knows whether a question may be stored at all."""
    with cache_of(hashing, fruit=Category("fruit", cacheable=False)) as cache:
        vectors = cache._engine._vectors
        for error in (EmbedderError("away"), RuntimeError("broken")):
            cache._engine._vectors = Failing(error)  # type: ignore[assignment]
            assert isinstance(cache.check("ripe plum pear"), Miss)
            assert cache.store("ripe plum pear", "secret") is None
            assert cache.store("named plum", "kept", category="tools") is not None
        cache._engine._vectors = vectors
        assert isinstance(cache.check("ripe plum pear"), Bypass)
        assert cache.stats()["entries"] == 1


class Failing:
    """A memory of vectors behind which the embedder is gone."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def of(self, text: str) -> Vectors:
        """Fail."""
        raise self.error


@pytest.mark.parametrize(
    "own",
    [
        Category("tools", similarity_threshold=0.6, probability_threshold=1.0, guards=()),
        Category("tools", similarity_threshold=0.6, guards=("numbers",)),
        Category("tools", similarity_threshold=0.6, ttl=1e-9, guards=()),
    ],
    ids=["uncertified", "guard", "stale"],
)
def test_another_categorys_policy_is_not_got_round(hashing: HashingEmbedder, own: Category) -> None:
    """Neither its certificate, nor its guards, nor its lives."""
    fruit = Category("fruit", similarity_threshold=0.6, guards=(), ttl=None)
    with cache_of(hashing, tools=own, fruit=fruit) as cache:
        cache._engine.book.namer._nearest = Torn(fruit=0.9, tools=0.1)  # type: ignore[assignment]
        cache.store("boil plum pear 5 minutes", "x", category="tools")
        assert isinstance(cache.check("boil plum pear 9 minutes"), Miss)


def test_a_vetoed_neighbour_hides_none_in_another_category(hashing: HashingEmbedder) -> None:
    """The nearest of each likely category is looked at."""
    guarded = Category("fruit", similarity_threshold=0.5, guards=("numbers",))
    tools = Category("tools", similarity_threshold=0.5, guards=("numbers",))
    with cache_of(hashing, fruit=guarded, tools=tools) as cache:
        cache._engine.book.namer._nearest = Torn(fruit=0.7, tools=0.3)  # type: ignore[assignment]
        cache.store("boil plum pear 5 minutes", "vetoed", category="fruit")
        cache.store("please boil plum pear for 9 minutes", "right", category="tools")
        hit = cache.check("boil plum pear 9 minutes")
        assert isinstance(hit, Hit)
        assert hit.answer == "right"


def test_an_unnamed_question_can_be_refreshed_past_the_cache(hashing: HashingEmbedder) -> None:
    """Even where the default is never cached: which category it is decides when it is kept."""
    with cache_of(hashing) as cache:
        cache._engine.force.policies = Policies(
            Category("default", cacheable=False), cache._engine.force.policies.categories
        )
        request = Request("ripe plum pear", controls=Controls(no_cache=True))
        decision = cache.lookup(request)
        assert isinstance(decision, Bypass)
        assert (decision.reason, decision.store) == (Reason.NO_CACHE, True)
        assert cache._engine.keep(request, "x") is not None


def test_a_damaged_fit_is_made_anew(
    hashing: HashingEmbedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is in the file: nothing, half of it, another thing."""
    monkeypatch.setenv("LIKEWISE_CACHE_DIR", str(tmp_path))
    whole = fit_nearest(EXAMPLES, hashing)
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    for damaged in (b"", data[: len(data) // 2], b"{}"):
        path.write_bytes(damaged)
        assert np.array_equal(fit_nearest(EXAMPLES, hashing).weights, whole.weights)
        assert path.read_bytes() != damaged


def test_the_benchmark_names_and_compares() -> None:
    """On words that tell two categories apart; a text in both is left out, a small one named."""
    words = [f"{a}{b}zz" for a in "abc" for b in "abcdefghijklmnopqrstuvwxyz"]
    prompts = [
        Prompt(name, f"{name} question {word} {name}{end}", name + word)
        for name in ("kites", "boats")
        for word in words
        for end in ("?", " ?")
    ]
    prompts += [Prompt(name, "the same text", "x") for name in ("kites", "boats")]
    prompts += [Prompt("few", "few", "few")]
    hashing = HashingEmbedder(256)
    chosen = choose(prompts, hashing, rows=100, seed=1)
    assert chosen.left_out == ["few"]
    assert "the same text" not in {prompt.text for prompt in chosen.prompts}
    assert {name: len(texts) for name, texts in chosen.examples.items()} == {
        "boats": 30,
        "kites": 30,
    }
    told: list[tuple[int, int]] = []
    known = Embedded(hashing, texts_of(chosen), lambda _, __: None)
    found = measure(chosen, known, hashing, progress=lambda *step: told.append(step))
    assert found["macro_f1"] > 0.95
    assert found["confusion"]["kites"]["kites"] > 90
    assert found["classified"]["right"] >= 0.9 * found["given"]["right"] > 0
    assert found["cost_us"] > 0
    assert found["embed_us"] > 0
    assert told[-1] == (4, 4)
    with pytest.raises(ConfigError, match="two categories need 130 prompts"):
        choose(prompts[:100], hashing, rows=100, seed=1)
