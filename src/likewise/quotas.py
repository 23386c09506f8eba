"""Who gives way when room is needed. Pure.

A guaranteed share is never taken from its owner. What nobody has a claim to, and what owners leave
unused, is lent: it goes to whoever stores, and comes back from the borrower who has the most of it.
"""

from __future__ import annotations

from collections.abc import Mapping


def fair_shares(
    held: Mapping[str, float], guaranteed: Mapping[str, float], total: float
) -> dict[str, float]:
    """Return how much each holder may keep: its guarantee, or an equal part of what is left.

    Args:
        held: How much each holds.
        guaranteed: How much some are guaranteed; together at most ``total``.
        total: How much there is.

    >>> fair_shares({"code": 80, "prices": 20, "chat": 5}, {"prices": 10}, 100)
    {'code': 45.0, 'prices': 10, 'chat': 45.0}
    """
    free = [name for name, amount in held.items() if amount and name not in guaranteed]
    left = max(0.0, total - sum(guaranteed.values())) / max(len(free), 1)
    return {name: guaranteed.get(name, left) for name in held}


def borrower(held: Mapping[str, float], guaranteed: Mapping[str, float], total: float) -> str:
    """Return the holder that is the farthest above its share: the one to give way.

    While more than ``total`` is held and no more than it guaranteed, there is one above its share.

    >>> borrower({"code": 80, "prices": 20, "chat": 5}, {"prices": 10}, 100)
    'code'
    """
    shares = fair_shares(held, guaranteed, total)
    return max((name for name in held if held[name]), key=lambda name: held[name] - shares[name])
