"""What an act of the admin API is: its method and path, who may do it, and what it takes.

The acts are a table: the gateway finds them by it, and its OpenAPI description is made of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import msgspec

from likewise.aio import AsyncCache
from likewise.dashboard.history import History
from likewise.errors import RequestError
from likewise.gateway.admin.audit import Audit
from likewise.gateway.pool import Pool
from likewise.gateway.siblings import Siblings


class Role(IntEnum):
    """What a key allows; each role may do what those before it may."""

    READ = 1
    WRITE = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True)
class Desk:
    """What the acts work on."""

    cache: AsyncCache
    pool: Pool
    history: History
    audit: Audit
    siblings: Siblings | None = None

    async def ask(self, what: str, *arguments: str) -> list[Any]:
        """Return what the other workers of the gateway say."""
        if self.siblings is None:
            return []
        return list((await self.siblings.ask(what, *arguments)).values())


@dataclass(frozen=True, slots=True)
class Given:
    """What came with a request: what its path names, its query and its body, both read."""

    names: dict[str, str]
    query: Any = None
    body: Any = field(default=None, repr=False)


Handler = Callable[[Desk, Given], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Act:
    """One act.

    Attributes:
        method: Of HTTP.
        path: Below ``/admin``, such as ``/entries/{id}``.
        role: The least role that may do it.
        summary: What it does, in a line.
        do: Does it.
        query: The type of its query, if it takes any.
        body: The type of its body, if it takes any.
        described: The type that describes its body, where that is read as anything and checked
            later.
    """

    method: str
    path: str
    role: Role
    summary: str
    do: Handler
    query: type | None = None
    body: Any = None
    described: Any = None

    def names(self, path: str) -> dict[str, str] | None:
        """Return what a path names when it is this act's, else ``None``."""
        wanted, given = self.path.split("/"), path.split("/")
        if len(wanted) != len(given):
            return None
        found: dict[str, str] = {}
        for want, have in zip(wanted, given, strict=True):
            if want.startswith("{"):
                if not have:
                    return None
                found[want[1:-1]] = have
            elif want != have:
                return None
        return found

    def read(self, names: dict[str, str], query: dict[str, str], body: bytes) -> Given:
        """Return what came with a request.

        Raises:
            RequestError: The query or the body is not what the act takes.
        """
        asked: Any = None
        if self.query is not None:
            try:
                asked = msgspec.convert(query, self.query, strict=False)
            except msgspec.ValidationError as error:
                msg = f"the query of {self.method} /admin{self.path} is wrong: {error}"
                raise RequestError(msg) from error
        if self.body is None:
            return Given(names, asked)
        try:
            return Given(names, asked, msgspec.json.decode(body, type=self.body))
        except RecursionError as error:
            msg = "the body's JSON is nested too deeply"
            raise RequestError(msg) from error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            msg = f"the body of {self.method} /admin{self.path} is wrong: {error}"
            raise RequestError(msg) from error
