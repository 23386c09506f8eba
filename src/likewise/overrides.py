"""Policies that the store holds, over those of the configuration: in force wherever it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from likewise import schema
from likewise.category import DEFAULT, check_name
from likewise.config import Policies, PolicySettings, merged_policy
from likewise.errors import ConfigError

POLICIES_MEMO = "policies"
"""Name under which a store keeps them."""

Overrides = Mapping[str, Mapping[str, Any]]
"""By category, what the configuration's ``categories`` would say of it."""


def check_override(name: str, settings: object) -> dict[str, Any]:
    """Return what is to hold for a category, checked as in a configuration file.

    Raises:
        ConfigError: A key or value is wrong.
    """
    where = f"policies.{check_name(name)}"
    if not isinstance(settings, dict):
        msg = f'{where}: expected an object such as {{"ttl": "1h"}}, got {type(settings).__name__}'
        raise ConfigError(msg)
    if "examples" in settings:
        msg = f"{where}.examples: examples belong in the configuration file"
        raise ConfigError(msg)
    overridden(Policies(), {name: settings})
    return settings


def overridden(policies: Policies, overrides: Overrides) -> Policies:
    """Return policies with what the store says of some categories.

    Raises:
        ConfigError: A key or value is wrong.
    """
    if not overrides:
        return policies
    listed, default = dict(policies.categories), policies.default
    for name, given in overrides.items():
        where = f"policies.{name}"
        settings = schema.read(PolicySettings, dict(given), where)
        if name == DEFAULT:
            default = merged_policy(default, settings, where)
        else:
            listed[name] = merged_policy(policies.of(name), settings, where)
    return replace(policies, default=default, categories=listed)


def encode(overrides: Overrides) -> bytes:
    """Return overrides as they are kept."""
    return msgspec.json.encode(overrides)


def decode(data: bytes | None) -> dict[str, dict[str, Any]]:
    """Return the overrides that ``encode`` made ``data`` of.

    Raises:
        ConfigError: They are damaged.
    """
    if data is None:
        return {}
    try:
        return msgspec.json.decode(data, type=dict[str, dict[str, Any]])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        msg = f"the policies in the store are damaged: {error}; put them anew"
        raise ConfigError(msg) from error
