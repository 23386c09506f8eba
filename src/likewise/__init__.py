"""Likewise: a semantic cache for LLM traffic that knows what kind of question it is looking at."""

from likewise.aio import AsyncCache
from likewise.cache import Cache
from likewise.category import Category
from likewise.entry import Entry
from likewise.errors import LikewiseError
from likewise.policy import Bypass, Hit, Miss
from likewise.scope import Scope

__all__ = [
    "AsyncCache",
    "Bypass",
    "Cache",
    "Category",
    "Entry",
    "Hit",
    "LikewiseError",
    "Miss",
    "Scope",
]
__version__ = "0.1.0"
