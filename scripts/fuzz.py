"""Fuzzes every target of ``tests/fuzz`` guided by coverage, with Atheris, a process for each.

``LIKEWISE_FUZZ_SECONDS`` is how long each target is fuzzed, 200 by default: an hour in all. Run by
``make fuzz``; an input that gets through is written beside as ``crash-*``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
SECONDS = os.environ.get("LIKEWISE_FUZZ_SECONDS", "200")


def main() -> int:
    """Fuzz the target named, or all of them; return how many let something through."""
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        return one(sys.argv.pop(1))
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - a child instruments it first

    failed = [name for name in TARGETS if subprocess.call([sys.executable, __file__, name])]  # noqa: S603 - ourselves
    sys.stderr.write(f"{len(TARGETS)} targets, {SECONDS} s each; failed: {failed or 'none'}\n")
    return len(failed)


def one(name: str) -> int:
    """Fuzz one target in this process."""
    import atheris  # noqa: PLC0415 - in the extra of its own

    with atheris.instrument_imports(include=["likewise", "tests.fuzz"]):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415

    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(target.seeds):
            (Path(corpus) / str(number)).write_bytes(seed)
        limits = [f"-max_total_time={SECONDS}", "-timeout=10", "-rss_limit_mb=2048", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *limits, "-print_final_stats=1", corpus], target.run)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
