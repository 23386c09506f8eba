"""Writes what tuning found: a policy file, and the verifier beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from likewise.files import write_whole
from likewise.learn.tune import Tuned

_LEAST_FLOOR = 0.5


def write_policy(tuned: Tuned, path: Path, *, base: dict[str, Any] | None = None) -> None:
    """Write the policy to ``path`` and its verifier to ``path`` with the ending ``.verifier``.

    Keys of ``base``, a configuration as YAML yields it, that tuning does not decide are kept.
    """
    verifier = path.with_suffix(".verifier")
    checksum = tuned.verifier.save(verifier)
    data = dict(base or {})
    data["verifier"] = {"path": verifier.name, "checksum": checksum}
    categories = dict(data.get("categories") or {})
    for name, certificate in tuned.certificates.items():
        policy = dict(categories.get(name) or {})
        if certificate.threshold is None:
            policy["exact_only"] = True
        else:
            policy["exact_only"] = False
            policy["similarity_threshold"] = round(max(_LEAST_FLOOR, tuned.floor[name]), 4)
            policy["probability_threshold"] = certificate.threshold
            policy["guards"] = list(tuned.guards[name])
            # Floors and gates of an earlier verifier mean nothing beside this one.
            for key in ("probability_floor", "pressure_budget", "gate"):
                policy.pop(key, None)
            gate = tuned.gates[name]
            if gate is not None:
                policy["gate"] = round(min(max(gate, 0.0), 1.0), 4)
            policy |= _under_load(tuned, name, certificate.threshold)
        categories[name] = policy
    data["categories"] = categories
    under_load = (
        ""
        if tuned.pressure_budget is None
        else f" Under full load: at most {tuned.pressure_budget:.2%}, at the same risk."
    )
    head = (
        f"# Written by likewise tune: at most {tuned.budget:.2%} wrong per hit, at a risk of "
        f"{tuned.risk:g}.{under_load}\n"
    )
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    write_whole(path, (head + text).encode())


def _under_load(tuned: Tuned, name: str, threshold: float) -> dict[str, Any]:
    """Return the keys of a category's policy that say how far load may take its threshold."""
    pressed = tuned.pressed.get(name)
    if tuned.pressure_budget is None or pressed is None or pressed.threshold is None:
        return {}
    return {
        "pressure_budget": tuned.pressure_budget,
        "probability_floor": min(pressed.threshold, threshold),
    }
