"""Replay: the real policy over logged or generated traffic, on a virtual clock.

``trace`` has arrivals, ``workload`` and ``log`` make requests of them, ``upstream`` is the model
behind as a queue, ``simulate`` drives a real engine over all of it, ``seeds`` repeats that, and
``report`` draws what came of it.
"""

from likewise.replay.outcome import Outcome
from likewise.replay.policy import Plan, Setting
from likewise.replay.seeds import Compared, over_seeds
from likewise.replay.simulate import simulate
from likewise.replay.trace import Arrivals, arrivals_of, read_trace
from likewise.replay.upstream import Upstream, fit
from likewise.replay.workload import Asked, Question, Workload, generate

__all__ = [
    "Arrivals",
    "Asked",
    "Compared",
    "Outcome",
    "Plan",
    "Question",
    "Setting",
    "Upstream",
    "Workload",
    "arrivals_of",
    "fit",
    "generate",
    "over_seeds",
    "read_trace",
    "simulate",
]
