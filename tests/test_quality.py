"""The protocol on the prompts that were written for this project."""

from likewise.bench.prompts import Embedded, Prompt
from likewise.bench.quality import run, uniform
from likewise.config import Policies
from likewise.demo.prompts import load_prompts
from likewise.embed.minilm import MiniLM


def test_the_policy_that_ships_is_cautious_on_our_own_prompts() -> None:
    """It answers some by meaning and none wrongly; one threshold for all serves look-alikes."""
    prompts = [Prompt(prompt.category, prompt.text, prompt.key) for prompt in load_prompts()]
    embedder = Embedded(MiniLM(), [prompt.text for prompt in prompts], lambda _done, _of: None)
    shipped = run("built-in", Policies.built_in(), prompts, embedder)
    usual = run("0.80", uniform(0.80), prompts, embedder)
    assert (shipped.total.wrong, shipped.total.right > 50) == (0, True)
    assert usual.total.wrong > 10
