"""Files that can always be made again: kept in the cache folder with a checksum."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from likewise.files import write_whole

logger = logging.getLogger("likewise")


def cache_folder() -> Path:
    """Where such files are kept.

    ``$LIKEWISE_CACHE_DIR``, else ``$XDG_CACHE_HOME/likewise``, else ``~/.cache/likewise``.

    Raises:
        RuntimeError: None of these is set and the user has no home folder.
    """
    if own := os.environ.get("LIKEWISE_CACHE_DIR"):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "likewise"
    return Path.home() / ".cache" / "likewise"


def kept(name: str, facts: Mapping[str, str], make: Callable[[], bytes]) -> bytes:
    """Return the content of a kept file, or make it and keep it.

    ``facts`` say what it was made of; they stand in the file with its checksum, so that one that is
    damaged or was made of something else is made again. A folder that cannot be written costs the
    making at every start. Each of these logs one warning.
    """
    try:
        path = cache_folder() / name
    except RuntimeError as error:
        logger.warning("no cache folder (%s); making %s in memory", error, name)
        return make()
    content = _read(path, facts)
    if content is not None:
        return content
    content = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, _header(content, facts) + content)
    except OSError as error:
        logger.warning("cannot keep %s in %s: %s", name, path.parent, error.strerror)
    return content


# One file, so that replacing it is one step: a line of JSON, then the content.


def _header(content: bytes, facts: Mapping[str, str]) -> bytes:
    return json.dumps({"sha256": hashlib.sha256(content).hexdigest(), **facts}).encode() + b"\n"


def _read(path: Path, facts: Mapping[str, str]) -> bytes | None:
    """The content of a file; None, and a warning unless it is absent, when unusable."""
    try:
        whole = path.read_bytes()
    except OSError:
        return None  # absent, or unreadable: then writing fails too, and that is what warns
    header, _, content = whole.partition(b"\n")
    if header + b"\n" == _header(content, facts):
        return content
    logger.warning("the kept file %s is damaged; making it again", path)
    return None
