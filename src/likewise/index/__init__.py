"""The index in memory: one partition per scope and category."""

from likewise.index.partition import CROSSOVER, Match, Partition
from likewise.index.record import Record

__all__ = ["CROSSOVER", "Match", "Partition", "Record"]
