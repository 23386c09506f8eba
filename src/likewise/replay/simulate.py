"""Running a workload under a policy on a virtual clock."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext

from likewise.embed import Embedder
from likewise.rebuild import Progress
from likewise.replay.outcome import Outcome
from likewise.replay.policy import Clock, Plan, Setting, open_engine
from likewise.replay.run import Run
from likewise.replay.workload import Workload


def simulate(
    workload: Workload,
    plan: Plan,
    setting: Setting,
    *,
    embedder: Embedder,
    progress: Progress = lambda _done, _of: None,
) -> Outcome:
    """Run a workload under one policy; the cache is empty at the beginning, and in memory.

    Args:
        workload: What is asked.
        plan: The policy. Its store is not touched; its categories are those that the workload
            names, so that neither rules nor examples are asked.
        setting: The model behind, and what is measured.
        embedder: That of the policy, which knows every text, as ``bench.prompts.Embedded`` does.
        progress: Told how many requests are done.

    Raises:
        ConfigError: The policy cannot be opened.
    """
    started = time.perf_counter()
    clock = Clock(workload.begins_at)
    engine = open_engine(plan.config, embedder, clock, hashed=bool(workload.hashed))
    try:
        with _one_thread():
            run = Run(workload, plan, setting, engine, clock)
            run.go(progress)
        return run.outcome(time.perf_counter() - started)
    finally:
        engine.close()


def _one_thread() -> AbstractContextManager[object]:
    """Keep linear algebra from using threads.

    The arrays are small, and threads that wait for each other on a busy machine take ten times as
    long as one.
    """
    try:
        from threadpoolctl import threadpool_limits  # noqa: PLC0415 - comes with scikit-learn
    except ImportError:
        return nullcontext()
    limits: AbstractContextManager[object] = threadpool_limits(1)
    return limits
