"""The log of decisions, answers and labels, for ``replay`` and ``advise``: JSON, a line an event.

A thread of its own writes it: no request waits for the disk. When the disk is slower than the
traffic, events are dropped and counted; a disk that fails is a fault like any other.
"""

from __future__ import annotations

import os
import queue
import secrets
import threading
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, Literal

import msgspec

from likewise.category import DEFAULT
from likewise.engine import Engine
from likewise.entry import Provenance
from likewise.errors import ConfigError
from likewise.gateway.call import Timing
from likewise.lookup import Lookup
from likewise.policy import Bypass, Decision, Hit, Miss

Texts = Literal["hash", "keep"]
_MOST_WAITING = 100_000
_KEY_BYTES = 32


class EventLog:
    """Appends to a file. Safe to use from many threads.

    Args:
        path: The file; a key beside it (``.key``) makes the hashes of one log comparable, and
            useless without it.
        texts: ``hash`` writes of a question only its keyed hash, ``keep`` the text as well.
        engine: Whose decisions are logged; told of faults.

    Raises:
        ConfigError: The file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        texts: Texts,
        engine: Engine,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._texts = texts
        self._engine = engine
        self._clock = clock
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue(_MOST_WAITING)
        try:
            self._key = _key_of(path.with_name(path.name + ".key"))
            self._file: IO[bytes] = path.open("ab")
        except OSError as error:
            msg = f"--log: {path} cannot be written: {error.strerror or error}"
            raise ConfigError(msg) from error
        self._writer = threading.Thread(target=self._write, name="likewise-log", daemon=True)
        self._writer.start()

    def request(self, lookup: Lookup, decision: Decision, lookup_s: float) -> None:
        """Log how a request was decided."""
        request = lookup.request
        receipt = self._engine.receipts.of(lookup.id)
        policy = lookup.policy if receipt is None else receipt.policy
        naming = lookup.naming if receipt is None else receipt.naming
        event: dict[str, Any] = {
            "event": "request",
            "id": lookup.id,
            "model": request.scope.model,
            "tenant": self._hashed(request.scope.tenant),
            "category": decision.category,
            "category_by": "entry" if naming is None else naming.by,
            "question_hash": self._hashed(request.question.strip()),
            "scope": self._hashed(lookup.scope.hex()),
            "decision": type(decision).__name__.lower(),
            "reason": decision.reason.value,
            "similarity_threshold": policy.similarity_threshold,
            "probability_threshold": policy.probability_threshold,
            "ttl_s": policy.ttl_s,
            "pressure": lookup.pressure,
            "lookup_s": lookup_s,
        }
        if self._texts == "keep":
            event["question"] = request.question
        match decision:
            case Hit():
                event |= {
                    "tier": decision.tier.value,
                    "similarity": decision.similarity,
                    "probability": decision.probability,
                    "entry_id": decision.entry_id,
                    "age_s": decision.age_s,
                    "stale_s": decision.stale_s,
                    "audit": decision.audit,
                    "saved_s": decision.provenance.latency_s,
                    "saved_usd": decision.provenance.cost_usd,
                }
            case Miss():
                event |= {
                    "similarity": decision.similarity,
                    "probability": decision.probability,
                    "entry_id": decision.nearest_id,
                }
            case Bypass():
                pass
        self._put(event)

    def answer(
        self, request_id: str, timing: Timing, provenance: Provenance, entry_id: str | None
    ) -> None:
        """Log how a call to the model went; ``entry_id`` is that of the entry it became."""
        self._put(
            {
                "event": "answer",
                "id": request_id,
                "status": timing.status,
                "latency_s": timing.seconds,
                "first_token_s": timing.first_token_s,
                "in_flight": timing.in_flight,
                "prompt_tokens": provenance.prompt_tokens,
                "completion_tokens": provenance.completion_tokens,
                "usd": provenance.cost_usd,
                "entry_id": entry_id,
            }
        )

    def label(
        self,
        category: str,
        question: str,
        *,
        kind: str,
        score: float | None,
        right: bool,
        propensity: float,
        audited: bool,
    ) -> None:
        """Log what an answer said of the nearest entry, see ``Listener``."""
        self._put(
            {
                "event": "label",
                "category": category,
                "question_hash": self._hashed(question.strip()),
                "kind": kind,
                "score": score,
                "right": right,
                "propensity": propensity,
                "audited": audited,
            }
        )

    def renewed(self, category: str, age_s: float, *, changed: bool) -> None:
        """Log that a fresh answer took the place of an older one, see ``Listener``."""
        self._put({"event": "renewed", "category": category, "age_s": age_s, "changed": changed})

    def close(self) -> None:
        """Write what is left, and close the file."""
        self._events.put(None)
        self._writer.join()

    def _put(self, event: dict[str, Any]) -> None:
        try:
            self._events.put_nowait({"t": self._clock(), **event})
        except queue.Full as error:
            self._engine.faults.report(DEFAULT, "log", error)

    def _write(self) -> None:
        encoder = msgspec.json.Encoder()
        with self._file as file:
            while (event := self._events.get()) is not None:
                try:
                    file.write(encoder.encode(event) + b"\n")
                    if self._events.empty():
                        file.flush()
                except (OSError, ValueError, TypeError) as error:
                    self._engine.faults.report(DEFAULT, "log", error)

    def _hashed(self, text: str) -> str:
        data = text.encode("utf-8", "surrogatepass")
        return blake2b(data, digest_size=8, key=self._key).hexdigest()


def _key_of(path: Path) -> bytes:
    """Return the key in a file that only its owner can read; a new one is made where none is."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            key = secrets.token_bytes(_KEY_BYTES)
            file.write(key)
            return key
    except FileExistsError:
        key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        msg = f"--log: the key {path} is damaged; delete it, and begin a new log"
        raise ConfigError(msg)
    return key
