"""Likewise inside other people's programs: one module each, whose package is imported only there.

``httpx``, ``httpx2``   a transport, under the client of OpenAI and others; no gateway is needed
``langchain``           a ``BaseCache``
``litellm``             a ``BaseCache`` of theirs
``llamaindex``          an ``LLM`` around an ``LLM``

What they have in common: the last question is the request, all that was said before it, the model
and every parameter are its scope, and a fault of the cache never fails a request.
"""

from __future__ import annotations

from likewise.errors import ConfigError


def missing(package: str, extra: str) -> ConfigError:
    """Return the error to raise where a package is not installed."""
    msg = f"{package} is not installed; run: pip install 'likewise[{extra}]'"
    return ConfigError(msg)
