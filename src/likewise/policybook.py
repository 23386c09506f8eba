"""The policies in force: the configuration's, under those that the store holds for everybody."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from likewise.category import Category, check_name
from likewise.classify import Classifier
from likewise.classify.nearest import Nearest
from likewise.config import Policies
from likewise.errors import ConfigError
from likewise.faults import Faults
from likewise.lookup import InForce
from likewise.naming import Namer
from likewise.overrides import POLICIES_MEMO, check_override, decode, encode, overridden
from likewise.pools import Room, room_of
from likewise.stores import Store

logger = logging.getLogger("likewise")


class PolicyBook:
    """Puts policies in force, and what follows from them: who names categories, and their room.

    Args:
        store: Where the policies are that hold wherever it is used.
        configured: The policies of the configuration.
        max_entries: Most entries over all categories.
        max_bytes: Most bytes over all categories; ``None`` for no bound.

    Raises:
        ConfigError: The policies in the store are damaged.
        StoreError: The store cannot be read.
    """

    force: InForce
    namer: Namer

    def __init__(
        self, store: Store, configured: Policies, *, max_entries: int, max_bytes: int | None
    ) -> None:
        self._store = store
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._changing = threading.Lock()
        self._changed: Callable[[], object] = lambda: None
        self.configured = configured
        """The policies of the configuration, over which those of the store are put."""
        self.overrides = decode(store.memo(POLICIES_MEMO))
        """What the store says of some categories."""
        self.policies = overridden(configured, self.overrides)
        self.room = self._room_of(self.policies)

    def open(
        self, force: InForce, namer: Namer, faults: Faults, changed: Callable[[], object]
    ) -> None:
        """Begin to say what is in ``force`` and who names; ``changed`` is told of each change."""
        self.force, self.namer, self._faults, self._changed = force, namer, faults, changed

    def adopt(
        self,
        policies: Policies,
        *classifiers: tuple[str, Classifier],
        nearest: Nearest | None,
        coarse: Nearest | None,
        sure: float,
    ) -> None:
        """Put a configuration's policies and classifiers in force, from the next request on.

        Raises:
            ConfigError: They do not go with what the store says; nothing has changed.
        """
        with self._changing:
            in_force = overridden(policies, self.overrides)
            room = self._room_of(in_force)
            self.configured = policies
            namer = Namer(
                in_force,
                classifiers,
                nearest,
                sure=sure,
                coarse=coarse,
                faults=self._faults,
                before=self.namer,
            )
            self._enforce(in_force, room, namer)

    def override(
        self, name: str, settings: Mapping[str, Any] | None, *, revoke: bool = False
    ) -> Category:
        """Put a policy in force for a category wherever the store is used; return what it is now.

        Args:
            name: The category.
            settings: What ``categories`` of a configuration would say; ``None`` for what the
                configuration does say. An epoch that was moved on never goes back.
            revoke: Whether to move its epoch on, with all else as it is.

        Raises:
            ConfigError: A key or value is wrong; nothing has changed.
            StoreError: The store could not keep it; nothing has changed.
        """
        with self._changing:
            known = decode(self._store.memo(POLICIES_MEMO))
            before = known.pop(check_name(name), {})
            if settings is not None:
                known[name] = check_override(name, settings)
            # What was revoked stays revoked, whatever else a policy says now.
            epoch = max(before.get("epoch", 0), known.get(name, {}).get("epoch", 0))
            if revoke:
                epoch = 1 + max(epoch, self.force.policies.of(name).epoch)
            if epoch > self.configured.of(name).epoch:
                known[name] = {**known.get(name, before if revoke else {}), "epoch": epoch}
            policies = overridden(self.configured, known)
            room = self._room_of(policies)
            self._store.put_memo(POLICIES_MEMO, encode(known))
            self.overrides = known
            self._enforce(policies, room, self.namer.under(policies))
        return policies.of(name)

    def noted(self) -> None:
        """Take over what another has put in force; what cannot be read leaves all as it is.

        Raises:
            StoreError: The store cannot be read.
        """
        try:
            with self._changing:
                known = decode(self._store.memo(POLICIES_MEMO))
                policies = overridden(self.configured, known)
                room = self._room_of(policies)
                self.overrides = known
                self._enforce(policies, room, self.namer.under(policies))
        except ConfigError as error:
            logger.error("the policies in the store are refused, the old ones stay: %s", error)

    def _room_of(self, policies: Policies) -> Room:
        return room_of(policies, max_entries=self._max_entries, max_bytes=self._max_bytes)

    def _enforce(self, policies: Policies, room: Room, namer: Namer) -> None:
        self.namer = namer
        self.policies = self.force.policies = policies
        self.room = room
        self._changed()
