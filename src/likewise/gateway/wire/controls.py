"""What a caller may ask of the cache, in headers and in the body's ``cache`` object."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from likewise import schema
from likewise.category import check_name
from likewise.errors import ConfigError, RequestError
from likewise.request import Controls
from likewise.sources import check_source

CATEGORY_HEADER = "x-likewise-category"
NAMESPACE_HEADER = "x-likewise-namespace"
SOURCES_HEADER = "x-likewise-sources"
SPEAKING = frozenset({CATEGORY_HEADER, NAMESPACE_HEADER, SOURCES_HEADER, "cache-control"})
"""The headers in which a caller may ask something of the cache."""


class CacheField(msgspec.Struct, kw_only=True, rename="kebab"):
    """The body's ``cache`` object, as LiteLLM's clients send it, with a category beside."""

    ttl: float | None = None
    s_maxage: float | None = None
    no_cache: bool = False
    no_store: bool = False
    use_cache: bool = True
    namespace: str = ""
    category: str | None = None
    sources: list[str] = []
    similarity_threshold: float | None = msgspec.field(default=None, name="similarity_threshold")


@dataclass(frozen=True, slots=True)
class Asked:
    """The controls of a request and the namespace it names."""

    controls: Controls
    namespace: str


_NOTHING = Asked(Controls(), "")


def asked_of(headers: Mapping[str, str], field: object) -> Asked:
    """Read the controls from headers (names in lower case) and from the body's ``cache`` object.

    Where both speak, the stricter wins; a category or namespace in a header wins over the body's.

    Raises:
        RequestError: A value is wrong; the message names it.
    """
    if field is None and SPEAKING.isdisjoint(headers):
        return _NOTHING
    try:
        body = schema.read(CacheField, field, "cache:")
        category = headers.get(CATEGORY_HEADER) or body.category
        category = None if category is None else check_name(category.strip().lower())
        given = [name.strip() for name in headers.get(SOURCES_HEADER, "").split(",")]
        sources = tuple(check_source(name) for name in (*given, *body.sources) if name)
    except ConfigError as error:
        raise RequestError(str(error), param="cache") from error
    directives = _directives(headers.get("cache-control", ""))
    ages = [_seconds(body.s_maxage, "cache.s-maxage"), _max_age(directives)]
    threshold = body.similarity_threshold
    if threshold is not None and not 0 <= threshold <= 1:
        msg = f"cache.similarity_threshold: {threshold} is not between 0 and 1"
        raise RequestError(msg, param="cache.similarity_threshold")
    controls = Controls(
        category=category,
        no_cache=body.no_cache or not body.use_cache or "no-cache" in directives,
        no_store=body.no_store or not body.use_cache or "no-store" in directives,
        max_age_s=min((age for age in ages if age is not None), default=None),
        ttl_s=_seconds(body.ttl, "cache.ttl"),
        similarity_threshold=threshold,
        sources=sources,
    )
    return Asked(controls, headers.get(NAMESPACE_HEADER, "") or body.namespace)


def _directives(header: str) -> dict[str, str]:
    """Return the directives of a ``Cache-Control`` header (RFC 9111, section 5.2)."""
    if not header:
        return {}
    pairs = (part.partition("=") for part in header.lower().split(","))
    return {name.strip(): value.strip().strip('"') for name, _, value in pairs}


def _max_age(directives: Mapping[str, str]) -> float | None:
    text = directives.get("max-age")
    if text is None:
        return None
    # RFC 9111, section 4.2.1: a freshness that cannot be read is to be taken for stale.
    return float(text) if text.isdecimal() else 0.0


def _seconds(value: float | None, name: str) -> float | None:
    if value is None:
        return None
    if not math.isfinite(value) or value < 0:
        msg = f"{name}: {value} is not a number of seconds"
        raise RequestError(msg, param=name)
    return value
