"""Sources that answers are made of, with their versions: a new version revokes at once.

The configuration names the version of each source in force. An entry keeps, as one line of text,
the versions its answer was made of; what it keeps is compared when it would be served.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from likewise.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,63}")

Versions = Mapping[str, str]
"""The version in force of each source."""

NO_SOURCES: Versions = MappingProxyType({})


def check_source(name: str) -> str:
    """Return ``name`` when it can name a source.

    Raises:
        ConfigError: It cannot.
    """
    if not _NAME.fullmatch(name):
        msg = (
            "a source's name is 1 to 64 letters, digits, '_', '.', ':', '/' or '-', beginning with "
            "a letter or digit"
        )
        raise ConfigError(msg)
    return name


def written(names: Iterable[str], versions: Versions) -> str:
    r"""Return the named sources with their versions in force as lines of one text.

    A source that the configuration does not know has no version, until it gets one.

    >>> written(["handbook", "prices"], {"handbook": "7"})
    'handbook=7\nprices='
    """
    return "\n".join(f"{name}={versions.get(name, '')}" for name in sorted(set(names)))


def outdated(kept: str, versions: Versions) -> str:
    """Return the first source that an entry keeps another version of, or nothing.

    >>> outdated("handbook=7", {"handbook": "8"}), outdated("handbook=7", {"handbook": "7"})
    ('handbook', '')
    """
    for line in kept.split("\n") if kept else ():
        name, _, version = line.partition("=")
        if versions.get(name, "") != version:
            return name
    return ""
