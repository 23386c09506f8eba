"""Print the release notes of a version: its section of CHANGELOG.md.

    python scripts/release_notes.py 0.1.0        # or Unreleased

Exits with 1 when there is no such section, or nothing in it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"


def notes(changelog: str, version: str) -> str:
    """Return the section of a version without its heading, nothing if there is none."""
    sections = re.split(r"^## +", changelog, flags=re.MULTILINE)[1:]
    for section in sections:
        heading, _, text = section.partition("\n")
        named = heading.split()[0].strip("[]") if heading.strip() else ""
        if named.lower() == version.removeprefix("v").lower():
            return text.strip()
    return ""


def main(arguments: list[str]) -> int:
    """Print the notes of the version that the command line names."""
    if len(arguments) != 1:
        print("usage: release_notes.py VERSION", file=sys.stderr)
        return 2
    found = notes(CHANGELOG.read_text("utf-8"), arguments[0])
    if not found:
        print(f"{CHANGELOG.name} says nothing of {arguments[0]}", file=sys.stderr)
        return 1
    print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
