"""What stores behind a network share: addresses without secrets, and a server that is left alone.

A server that does not answer must cost a request nothing but its reuse: calls time out within
seconds, and after a few failures in a row none is tried for a moment.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from likewise.breaker import CircuitBreaker
from likewise.errors import ConfigError, StoreError

CONNECT_S = 2.0
"""How long a connection may take to come about."""

ANSWER_S = 5.0
"""How long the server may take to answer."""

LONGEST_S = 3.2e9
"""A century: a life that servers take, whatever a caller asks for."""

POOL = 16
"""Most connections of a process; calls beyond them wait for one."""

_PASSWORD = "LIKEWISE_STORE_PASSWORD"  # noqa: S105 - the name of a variable


def missing(url: str) -> StoreError:
    """Return the error of a store that somebody wants to read before it was made."""
    msg = f"there is no store at {url} yet; a cache or a gateway makes it, or check --store"
    return StoreError(msg)


class Address:
    """A store's URL taken apart: options of ours, and the rest for the driver.

    Args:
        url: As it was given.
        options: Names of the query parameters that are ours.
        what: What the address is of, as errors name it.

    Raises:
        ConfigError: It is not a URL, or has no host.
    """

    def __init__(self, url: str, options: tuple[str, ...], *, what: str = "store") -> None:
        try:
            parts = urlsplit(url)
            password, _ = parts.password, parts.port
        except ValueError:
            # What is wrong with it may be the password.
            msg = (
                f"{what}: the {url.partition('://')[0]} address is no URL: its port must be a "
                "number, and the characters / ? # @ : of user and password percent-encoded"
            )
            raise ConfigError(msg) from None
        if "@" in parts.path + parts.query + parts.fragment:
            msg = (
                f"store: the {parts.scheme} address has an @ after its host: percent-encode the "
                "characters / ? # @ : of user and password"
            )
            raise ConfigError(msg)
        query = parse_qsl(parts.query, keep_blank_values=True)
        self.options = {name: value for name, value in query if name in options}
        # libpq takes no plus sign for a space.
        rest = urlencode([pair for pair in query if pair[0] not in options], quote_via=quote)
        self.scheme = parts.scheme
        self.path = unquote(parts.path)
        known = None if password is None else unquote(password)
        self.password = os.environ.get(_PASSWORD) if known is None else known
        self.for_driver = urlunsplit(_with_password(parts, self.password)._replace(query=rest))
        shown = urlencode(
            [pair for pair in query if "pass" not in pair[0].lower()], quote_via=quote
        )
        self.shown = urlunsplit(_with_password(parts, None)._replace(query=shown))

    def option(self, name: str, default: str) -> str:
        """Return an option of ours."""
        return self.options.get(name) or default


def _with_password(parts: SplitResult, password: str | None) -> SplitResult:
    """Return a URL with another password, or without any."""
    _, at, place = parts.netloc.rpartition("@")
    user = parts.username or ""
    if not at and password is None:
        return parts
    secret = "" if password is None else f":{quote(password, safe='')}"
    return parts._replace(netloc=f"{user}{secret}@{place}" if user or secret else place)


class Guard:
    """Turns a driver's errors into ``StoreError``, and leaves a failing server alone for a while.

    Args:
        url: The store's address as it may be shown.
        errors: What the driver raises.
        gone: Those of them which mean that the server does not answer at all.
        remedy: Says of an error what to do.
    """

    def __init__(
        self,
        url: str,
        *,
        errors: tuple[type[BaseException], ...],
        gone: tuple[type[BaseException], ...],
        remedy: Callable[[BaseException], str],
    ) -> None:
        self._url = url
        self._errors = errors
        self._gone = gone
        self._remedy = remedy
        self._breaker = CircuitBreaker(failures=3, open_s=1.0)

    @contextmanager
    def faults(self, act: str) -> Iterator[None]:
        """Run a block that asks the server."""
        if not self._breaker.allow():
            msg = f"cannot {act} {self._url}: it has not answered lately; it is asked again soon"
            raise StoreError(msg)
        try:
            yield
        except self._errors as error:
            if isinstance(error, self._gone):
                self._breaker.record_failure()
            else:
                self._breaker.record_success()
            raise self.error(act, error) from error
        self._breaker.record_success()

    def error(self, act: str, error: BaseException) -> StoreError:
        """Return what to tell of a driver's error, in one line and without secrets."""
        said = " ".join(str(error).split()) or type(error).__name__
        return StoreError(f"cannot {act} {self._url}: {said}; {self._remedy(error)}")
