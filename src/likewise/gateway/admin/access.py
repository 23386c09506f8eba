"""Who may use the admin API: keys with roles, kept as hashes, and how often they may.

A key is a long random word, so that a plain SHA-256 of it is enough to keep: there is no dictionary
to try. Every key is compared in constant time, and all of them each time.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple

from likewise.config import GatewaySettings
from likewise.errors import ConfigError
from likewise.gateway.admin.acts import Role
from likewise.pace import Pace

PREFIX = "sha256:"
_HASH = re.compile(r"sha256:[0-9a-f]{64}").fullmatch
_FAILURES_PER_MINUTE = 10


class Key(NamedTuple):
    """A key without itself: its name, what it allows, and its SHA-256."""

    name: str
    role: Role
    digest: bytes


def new_key() -> tuple[str, str]:
    """Return a new key of 256 random bits, and the hash to keep of it."""
    key = f"lw-{secrets.token_urlsafe(32)}"
    return key, PREFIX + sha256(key.encode()).hexdigest()


class KeyRing:
    """The keys in force. They may be exchanged while requests run.

    Args:
        settings: The configuration's ``gateway``.

    Raises:
        ConfigError: A key is not kept as a hash, or two have one name.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._keys = self.read(settings)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def put(self, keys: tuple[Key, ...]) -> None:
        """Put other keys in force; those that are not among them are void at once."""
        self._keys = keys

    @staticmethod
    def read(settings: GatewaySettings) -> tuple[Key, ...]:
        """Return the keys of a configuration.

        Raises:
            ConfigError: A key is not kept as a hash, or two have one name.
        """
        found = []
        if settings.admin_key:
            found.append(Key("admin_key", Role.ADMIN, _digest_of(settings.admin_key)))
        for number, given in enumerate(settings.keys):
            if not _HASH(given.hash):
                msg = (
                    f"gateway.keys[{number}].hash: expected sha256: and 64 hex digits; "
                    "likewise keys new makes a key and its hash"
                )
                raise ConfigError(msg)
            role = Role[given.role.upper()]
            found.append(Key(given.name, role, _digest_of(given.hash)))
        names = [key.name for key in found]
        if len(set(names)) < len(names):
            msg = "gateway.keys: two keys have the same name; the audit log tells them apart by it"
            raise ConfigError(msg)
        return tuple(found)

    def admits(self, authorization: bytes) -> Key | None:
        """Return the key that a request's ``Authorization`` names, if it is one."""
        scheme, _, given = authorization.partition(b" ")
        digest = sha256(given.strip()).digest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found if scheme.lower() == b"bearer" else None


def failures(clock: Callable[[], float] = time.monotonic) -> Pace:
    """Return how often an address may name a wrong key."""
    return Pace(_FAILURES_PER_MINUTE, clock)


def _digest_of(key: str) -> bytes:
    if _HASH(key):
        return bytes.fromhex(key.removeprefix(PREFIX))
    return sha256(key.encode()).digest()
