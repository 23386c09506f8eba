"""The files of a snapshot: written whole with a checksum each, and verified before they are read.

A snapshot is a folder. Its manifest names what it was taken of and every file with its size and
checksum; the manifest is written last and has a checksum itself.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

FORMAT = 1
"""Goes up whenever something is written in another way."""

_MANIFEST = "manifest.json"
_AT_ONCE = 1 << 22


class DamagedError(Exception):
    """A snapshot is not what was written."""


class File(msgspec.Struct, frozen=True):
    """What is known of a file: bytes, and their SHA-256 in hexadecimal digits."""

    size: int
    digest: str


class Manifest(msgspec.Struct, frozen=True):
    """What a snapshot was taken of.

    Attributes:
        format: See ``FORMAT``.
        store: The store's identity.
        seq: Number of the last change that it has for certain.
        embedder: Name of the embedder.
        sketcher: What made the coarse vectors, empty without any.
        dimensions: Length of a vector.
        entries: How many there are.
        files: By name.
        facts: Whatever else those who wrote the files want to know again.
    """

    format: int
    store: str
    seq: int
    embedder: str
    sketcher: str
    dimensions: int
    entries: int
    files: dict[str, File]
    facts: dict[str, Any]


class Writer:
    """Writes the files of a snapshot to a new folder, for its owner only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts: dict[str, Any] = {}
        self._files: dict[str, File] = {}
        folder.mkdir(mode=0o700)

    def put(self, name: str, parts: Iterable[Any]) -> None:
        """Write a file of some parts, each of which shows its bytes."""
        digest, size = hashlib.sha256(), 0
        with self._opened(name) as file:
            for part in parts:
                data = memoryview(part).cast("B")
                file.write(data)
                digest.update(data)
                size += len(data)
            file.flush()
            os.fsync(file.fileno())
        self._files[name] = File(size, digest.hexdigest())

    def place(self, name: str) -> Path:
        """Return where somebody else may write a file, which is to be sealed when it is done."""
        self._opened(name).close()
        return self.folder / name

    def seal(self, name: str) -> None:
        """Take up a file that somebody else has written."""
        with (self.folder / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
            self._files[name] = File(os.fstat(file.fileno()).st_size, digest)

    def finish(
        self, *, store: str, seq: int, embedder: str, sketcher: str, dimensions: int, entries: int
    ) -> None:
        """Write the manifest: now the folder is a snapshot."""
        manifest = Manifest(
            FORMAT, store, seq, embedder, sketcher, dimensions, entries, self._files, self.facts
        )
        text = msgspec.json.encode(manifest)
        digest = hashlib.sha256(text).hexdigest().encode()
        self.put(_MANIFEST, [digest, b"\n", text])
        sync_folder(self.folder)

    def _opened(self, name: str) -> Any:
        descriptor = os.open(self.folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        return os.fdopen(descriptor, "wb")


class Reader:
    """Reads the files of a snapshot. Every file is verified when it is asked for.

    Raises:
        DamagedError: The manifest is not what was written, or of another format.
        OSError: It cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        digest, _, text = (folder / _MANIFEST).read_bytes().partition(b"\n")
        if hashlib.sha256(text).hexdigest().encode() != digest:
            msg = "its manifest is damaged"
            raise DamagedError(msg)
        try:
            written: Any = msgspec.json.decode(text)
            if written["format"] != FORMAT:
                msg = f"it has format {written['format']}, and this version reads {FORMAT}"
                raise DamagedError(msg)
            self.manifest = msgspec.convert(written, Manifest)
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError) as error:
            msg = "its manifest cannot be read"
            raise DamagedError(msg) from error

    def mapped(self, name: str) -> mmap.mmap | bytes:
        """Return a file's bytes, mapped to memory.

        Raises:
            DamagedError: They are not what was written, or not there.
            OSError: They cannot be read.
        """
        known = self.manifest.files.get(name)
        if known is None:
            msg = f"{name} is missing"
            raise DamagedError(msg)
        with (self._folder / name).open("rb") as file:
            if os.fstat(file.fileno()).st_size != known.size:
                msg = f"{name} has not the size it was written with"
                raise DamagedError(msg)
            # Nothing cannot be mapped.
            data: mmap.mmap | bytes = b""
            if known.size:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if _digest(data) != known.digest:
            msg = f"{name} is damaged"
            raise DamagedError(msg)
        return data

    def array(self, name: str, kind: Any) -> NDArray[Any]:
        """Return a file as an array of numbers, which cannot be written; see ``mapped``."""
        return np.frombuffer(self.mapped(name), kind)


def sync_folder(folder: Path) -> None:
    """Make what was created and renamed in a folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(data: mmap.mmap | bytes) -> str:
    digest = hashlib.sha256()
    with memoryview(data) as view:
        for start in range(0, len(view), _AT_ONCE):
            digest.update(view[start : start + _AT_ONCE])
    return digest.hexdigest()
