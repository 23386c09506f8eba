"""A store whose texts are encrypted, or left out, before they reach the disk or the network.

Encrypted are question and answer, each by itself, with Fernet (AES-128-CBC and HMAC-SHA-256) of the
package ``cryptography``. In clear stay what finds and judges an entry: vector, digests, category,
times, tenant, provenance. A vector tells something of its question, and the digest of an answer
confirms a guess of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from likewise.entry import OMITTED, Entry, decode_answer, encode_answer
from likewise.errors import ConfigError, StoreError
from likewise.stores.base import Counters, Held, IndexRow, Store
from likewise.stores.feed import Change, Mark, Verdict
from likewise.stores.memory import MemoryStore

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

logger = logging.getLogger("likewise")

_MEMO = "sealed"
_PROOF = b"likewise"
_MARK = "sealed:"


@dataclass(frozen=True, slots=True, eq=False)
class _Sealed(Entry):
    """An entry whose texts are not its own any more, with what was computed of them before."""

    own_key: bytes = b""
    own_digest: int = 0

    @property
    def key(self) -> bytes:
        """See ``Entry.key``."""
        return self.own_key

    @property
    def answer_digest(self) -> int:
        """See ``Entry.answer_digest``."""
        return self.own_digest


class SealedStore(Store):
    """A store over another that it closes; see the module.

    Args:
        store: Where entries live.
        keys: Keys of Fernet; the first one writes, all of them read. Without any, questions are
            left out and answers stay as they are.

    Raises:
        ConfigError: A key is none, none of them opens what the store holds, or ``cryptography`` is
            not installed.
        StoreError: The store cannot be read.
    """

    def __init__(self, store: Store, keys: Sequence[str] = ()) -> None:
        self._store = store
        self._fernet = _fernet(keys) if keys else None
        self._told = False
        if self._fernet is not None:
            self._prove(self._fernet)

    @property
    def omits(self) -> bool:
        """See ``Store``."""
        return self._fernet is None

    @property
    def url(self) -> str:
        """See ``Store``."""
        return self._store.url

    def put(self, entry: Entry, *, keep_s: float | None = None) -> list[str]:
        """See ``Store``."""
        return self._store.put(self._seal(entry), keep_s=keep_s)

    def revector(self, entry: Entry) -> bool:
        """See ``Store``."""
        return self._store.revector(self._seal(entry))

    def get(self, entry_id: str) -> Entry | None:
        """See ``Store``."""
        entry = self._store.get(entry_id)
        if entry is None:
            return None
        question, answer = self._opened(entry.question), entry.answer
        if isinstance(answer, str) and answer.startswith(_MARK):
            text = self._opened(answer)
            answer = None if text is None else decode_answer(text.encode())
            if text is None:
                return None
        return None if question is None else replace(entry, question=question, answer=answer)

    def at_hand(self, entry_id: str) -> Held | None:
        """See ``Store``."""
        held = self._store.at_hand(entry_id)
        if held is None or not held.answer.startswith(f'"{_MARK}'.encode()):
            return held
        text = self._opened(decode_answer(held.answer))
        if text is None:
            return None
        return Held(held.scope, held.provenance, text.encode(), held.until, held.ready)

    def delete(self, entry_ids: Sequence[str]) -> int:
        """See ``Store``."""
        return self._store.delete(entry_ids)

    def clear(self, *, category: str | None = None, scope: bytes | None = None) -> list[str]:
        """See ``Store``."""
        return self._store.clear(category=category, scope=scope)

    def scan(self) -> Iterator[IndexRow]:
        """See ``Store``; what no key opens is left out."""
        for row in self._store.scan():
            if (opened := self._row(row)) is not None:
                yield opened

    def rows(self, entry_ids: Sequence[str]) -> list[IndexRow]:
        """See ``Store``."""
        opened = (self._row(row) for row in self._store.rows(entry_ids))
        return [row for row in opened if row is not None]

    def expire(self) -> int:
        """See ``Store``."""
        return self._store.expire()

    def scrub(self) -> None:
        """See ``Store``."""
        self._store.scrub()

    def mark(self) -> Mark:
        """See ``Store``."""
        return self._store.mark()

    def changes(self, *, after: int) -> list[Change]:
        """See ``Store``."""
        return self._store.changes(after=after)

    def wait(self, *, after: int, timeout_s: float) -> None:
        """See ``Store``."""
        self._store.wait(after=after, timeout_s=timeout_s)

    def counts(self) -> dict[str, int]:
        """See ``Store``."""
        return self._store.counts()

    def add_verdict(self, verdict: Verdict) -> None:
        """See ``Store``."""
        self._store.add_verdict(verdict)

    def verdicts(self) -> Iterator[Verdict]:
        """See ``Store``."""
        return self._store.verdicts()

    def add_labels(self, labels: Sequence[bytes]) -> None:
        """See ``Store``."""
        self._store.add_labels(labels)

    def labels(self, *, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """See ``Store``."""
        return self._store.labels(after=after)

    def put_memo(self, name: str, value: bytes) -> None:
        """See ``Store``."""
        self._store.put_memo(name, value)

    def memo(self, name: str) -> bytes | None:
        """See ``Store``."""
        return self._store.memo(name)

    def add_counters(self, increments: Counters) -> None:
        """See ``Store``."""
        self._store.add_counters(increments)

    def counters(self) -> dict[tuple[str, str], float]:
        """See ``Store``."""
        return self._store.counters()

    def close(self) -> None:
        """See ``Store``."""
        self._store.close()

    def _prove(self, fernet: MultiFernet) -> None:
        """Check that the keys are those of the store, and keep a proof for the next time."""
        kept = self._store.memo(_MEMO)
        if kept is not None and _decrypted(fernet, kept) != _PROOF:
            msg = (
                "none of the encryption keys opens what the store holds; name the key it was "
                "written with after the new one"
            )
            raise ConfigError(msg)
        # Anew each time: it is to be of the first key, when the others go.
        self._store.put_memo(_MEMO, fernet.encrypt(_PROOF))

    def _seal(self, entry: Entry) -> Entry:
        values: dict[str, Any] = {one.name: getattr(entry, one.name) for one in fields(Entry)}
        key = entry.key
        if self._fernet is None:
            values["question"] = OMITTED + key.hex()
        else:
            try:
                question = entry.question.encode()
            except UnicodeEncodeError as error:
                msg = "an entry cannot be written down: its question is no Unicode"
                raise StoreError(msg) from error
            values["question"] = _MARK + self._fernet.encrypt(question).decode()
            sealed = self._fernet.encrypt(encode_answer(entry.answer)).decode()
            values["answer"] = _MARK + sealed
        return _Sealed(**values, own_key=key, own_digest=entry.answer_digest)

    def _row(self, row: IndexRow) -> IndexRow | None:
        question = self._opened(row.question)
        return None if question is None else replace(row, question=question)

    def _opened(self, text: str) -> str | None:
        """Return a text in clear, as it is when it was never sealed; ``None`` when it cannot be."""
        if not text.startswith(_MARK):
            return text
        opened = None
        if self._fernet is not None:
            opened = _decrypted(self._fernet, text.removeprefix(_MARK).encode())
        if opened is None and not self._told:
            self._told = True
            logger.warning(
                "entries of another encryption key are passed over; name that key as well, or "
                "purge them"
            )
        return None if opened is None else opened.decode()


def sealed(store: Store, texts: Literal["keep", "encrypt", "omit"], keys: Sequence[str]) -> Store:
    """Return a store with its texts kept as ``texts`` says.

    Raises:
        ConfigError: They are to be encrypted, and there is no key; see also ``SealedStore``.
        StoreError: The store cannot be read.
    """
    if isinstance(store, MemoryStore):
        return store  # nothing of it is ever at rest
    if texts == "keep":
        if store.memo(_MEMO) is not None:
            msg = "the store holds encrypted texts; set privacy.texts: encrypt, and its key"
            raise ConfigError(msg)
        return store
    if texts == "encrypt" and not keys:
        msg = (
            "privacy.texts: encrypt needs a key in LIKEWISE_ENCRYPTION_KEYS; "
            "likewise keys encryption makes one"
        )
        raise ConfigError(msg)
    return SealedStore(store, keys if texts == "encrypt" else ())


def new_encryption_key() -> str:
    """Return a new key of Fernet.

    Raises:
        ConfigError: ``cryptography`` is not installed.
    """
    _require()
    from cryptography.fernet import Fernet  # noqa: PLC0415 - an extra

    return Fernet.generate_key().decode()


def _fernet(keys: Sequence[str]) -> MultiFernet:
    _require()
    from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415 - an extra

    try:
        return MultiFernet([Fernet(key) for key in keys])
    except (ValueError, TypeError) as error:
        msg = "LIKEWISE_ENCRYPTION_KEYS: a key is 32 bytes in URL-safe base64; "
        raise ConfigError(msg + "likewise keys encryption makes one") from error


def _decrypted(fernet: MultiFernet, token: bytes) -> bytes | None:
    from cryptography.fernet import InvalidToken  # noqa: PLC0415 - an extra

    try:
        return fernet.decrypt(token)
    except InvalidToken:
        return None


def _require() -> None:
    if find_spec("cryptography") is None:
        msg = "encryption needs the package cryptography: pip install 'likewise[privacy]'"
        raise ConfigError(msg)
