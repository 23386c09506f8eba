import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.embed import Embedder
from likewise.embed.minilm import MiniLM
from likewise.embed.weights import TOKENIZER_FILE, WEIGHTS_FILE, find_weights
from likewise.errors import ConfigError, EmbedderError, WeightsCorruptError

REFERENCE = json.loads(
    Path(__file__).parent.parent.joinpath("data", "minilm_reference.json").read_text("utf-8")
)
TEXTS = [row["text"] for row in REFERENCE["rows"]]
VECTORS = np.array([row["vector"] for row in REFERENCE["rows"]], dtype=np.float32)


@pytest.fixture(scope="module", autouse=True)
def _fresh_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Build the graph as the code says now: the user's cache may hold an older one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIKEWISE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    """The embedder with its defaults."""
    return MiniLM()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """The published tokenizer without padding or cutting, to check the short cuts against."""
    from tokenizers import Tokenizer  # noqa: PLC0415 - as late as the code under test

    tokenizer = Tokenizer.from_file(str(find_weights() / TOKENIZER_FILE))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def test_importing_loads_nothing() -> None:
    """Importing the module brings in neither the runtime nor the tokenizer nor the builder."""
    code = (
        "import sys, likewise; before = set(sys.modules); import likewise.embed.minilm;"
        "heavy = {'onnx', 'onnxruntime', 'tokenizers', 'safetensors'};"
        "assert not heavy & (set(sys.modules) - before)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_opening_prints_nothing(tmp_path: Path) -> None:
    """Neither building the graph nor loading it writes to the screen."""
    code = (
        "import os, sys; os.environ['LIKEWISE_CACHE_DIR'] = sys.argv[1];"
        "from likewise.embed.minilm import MiniLM; MiniLM().embed(['a'])"
    )
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", code, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert (run.stdout, run.stderr) == ("", "")


def test_it_is_an_embedder(minilm: MiniLM) -> None:
    """It has the protocol's members, and a name that says how it was quantised."""
    embedder: Embedder = minilm
    assert embedder.name == "all-MiniLM-L6-v2/int8-v1"
    assert embedder.dimensions == 384
    assert "int8-v1" in repr(minilm)


def test_vectors_are_those_of_the_original_model(minilm: MiniLM) -> None:
    """Cosine to the fp32 model in PyTorch: mean at least 0.99, none under 0.97."""
    cosines = np.sum(minilm.embed(TEXTS) * VECTORS, axis=1)
    assert cosines.mean() >= 0.99
    assert cosines.min() >= 0.97


def test_similarities_are_those_of_the_original_model(minilm: MiniLM) -> None:
    """What the cache compares, the similarity of two texts, moves by less than 0.05."""
    vectors = minilm.embed(TEXTS)
    assert np.abs(vectors @ vectors.T - VECTORS @ VECTORS.T).max() < 0.05


def test_a_vector_does_not_depend_on_its_batch(minilm: MiniLM) -> None:
    """Alone, among all, or among texts of its own length, a text has the same vector."""
    alone = np.vstack([minilm.embed([text]) for text in TEXTS])
    assert np.abs(alone - minilm.embed(TEXTS)).max() < 1e-5
    same_length = ["red cat", "big dog", "old car", "new hat"] * 70
    assert np.abs(minilm.embed(same_length)[:4] - minilm.embed(["red cat"])[0]).max() > 0.01
    assert np.abs(minilm.embed(same_length)[276:] - minilm.embed(same_length[:4])).max() < 1e-5


def test_rows_follow_the_texts(minilm: MiniLM) -> None:
    """However texts are grouped inside, row i is text i, of length 1, as float32."""
    shuffled = TEXTS.copy()
    random.Random(7).shuffle(shuffled)  # noqa: S311 - a fixed shuffle, nothing secret
    vectors = minilm.embed(shuffled)
    assert vectors.dtype == np.float32
    assert vectors.shape == (50, 384)
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5
    assert np.abs(vectors - minilm.embed(TEXTS)[[TEXTS.index(t) for t in shuffled]]).max() < 1e-5


def test_no_texts_give_no_rows(minilm: MiniLM) -> None:
    """An empty list gives an array of shape (0, 384)."""
    assert minilm.embed([]).shape == (0, 384)


def test_an_empty_text_has_a_vector(minilm: MiniLM) -> None:
    """The empty text is two tokens, and its vector is finite."""
    assert np.isfinite(minilm.embed(["", "\x00", " "])).all()


def test_threads_agree(minilm: MiniLM) -> None:
    """Calls from many threads at once give what one thread gets."""
    expected = minilm.embed(TEXTS)
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda text: minilm.embed([text])[0], TEXTS * 2))
    assert np.abs(np.vstack(rows) - np.vstack([expected, expected])).max() < 1e-5


def test_two_processor_threads_give_the_same_vectors(minilm: MiniLM) -> None:
    """The number of threads is a matter of speed only."""
    assert np.abs(MiniLM(threads=2).embed(TEXTS) - minilm.embed(TEXTS)).max() < 1e-4


@given(st.text(max_size=90))
@settings(max_examples=200, deadline=None)
def test_fits_is_the_token_count(minilm: MiniLM, tokenizer: Any, text: str) -> None:
    """Whatever the script, ``fits`` says what the tokens say: few enough, and all known."""
    small = object.__new__(MiniLM)
    small.__dict__.update(minilm.__dict__ | {"_max_tokens": 32})
    encoding = tokenizer.encode(text)
    assert small.fits(text) == (len(encoding.ids) <= 32 and "[UNK]" not in encoding.tokens)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("a " * 254, True),
        ("a " * 255, False),
        (". " * 127, True),
        (". " * 255, False),
        ("\uac01 " * 84, True),  # three tokens each
        ("\uac01 " * 85, False),
        ("x" * 101, False),  # a word of over 100 letters is one unknown token
        ("\uac01" * 100, False),
        ("what does \U0001f99c mean?", False),
        (" " * 9000, False),  # said not to fit for its length alone
        ("half a pair \ud83d", False),
        ("half a pair, long enough to be tokenised " * 8 + "\ud83d", False),
    ],
)
def test_fits_at_its_edges(minilm: MiniLM, text: str, fits: bool) -> None:
    """The window is 256 tokens with the two that frame every text."""
    assert minilm.fits(text) is fits


def test_ascii_has_at_most_a_token_for_a_character(tokenizer: Any) -> None:
    """The short cut's bound holds: no ASCII character becomes two."""
    for code in range(128):
        assert len(tokenizer.normalizer.normalize_str(chr(code)).replace(" ", "")) <= 1


def test_a_text_that_does_not_fit_is_cut(minilm: MiniLM) -> None:
    """Only the first 255 tokens of a longer text matter, as in the original model."""
    long = minilm.embed(["cat " * 254 + "dog " * 500, "cat " * 254])
    assert np.abs(long[0] - long[1]).max() < 1e-5


def test_half_a_surrogate_pair_is_an_error_without_the_text(minilm: MiniLM) -> None:
    """Text no encoding can carry gives our error, which does not quote it."""
    with pytest.raises(EmbedderError, match="surrogate") as caught:
        minilm.embed(["secret \ud83d"])
    assert "secret" not in str(caught.value)


def test_numbers_out_of_range_are_refused() -> None:
    """Bad arguments are named before anything is loaded."""
    with pytest.raises(ConfigError, match="threads is 0"):
        MiniLM(threads=0)
    with pytest.raises(ConfigError, match="max_tokens is 513"):
        MiniLM(max_tokens=513)


@pytest.mark.parametrize("content", ["{}", "not the published one"])
def test_another_tokenizer_is_refused(tmp_path: Path, content: str) -> None:
    """Weights with a tokenizer that is broken or numbers words otherwise do not load."""
    (tmp_path / WEIGHTS_FILE).touch()
    published = (find_weights() / TOKENIZER_FILE).read_text("utf-8")
    other = published.replace('"hello":', '"h3llo":')
    (tmp_path / TOKENIZER_FILE).write_text(content if content == "{}" else other, "utf-8")
    with pytest.raises(WeightsCorruptError, match="tokenizer"):
        MiniLM(tmp_path)


def test_a_folder_of_weights_may_be_given(tmp_path: Path, minilm: MiniLM) -> None:
    """A copy of the published files loads from any folder and gives the same vectors."""
    for name in (WEIGHTS_FILE, TOKENIZER_FILE):
        shutil.copy(find_weights() / name, tmp_path / name)
    copied = MiniLM(tmp_path)
    assert copied.name == minilm.name
    assert np.array_equal(copied.embed(TEXTS[:3]), minilm.embed(TEXTS[:3]))
