"""A discrete-event simulation that drives a real engine on a virtual clock.

Time passes only between events: requests arrive, calls reach the model, bring their first token,
end, or are tried again after a refusal. At each arrival the engine decides as it does in service,
with its own index, guards, eviction and learning; what a miss brings is kept when its call ends.
"""

from __future__ import annotations

import time
from array import array

import numpy as np

from likewise.engine import Engine
from likewise.entry import Provenance
from likewise.gateway.refresh import Refreshes
from likewise.load import TOO_MANY
from likewise.lookup import Lookup
from likewise.policy import Bypass, Decision, Hit, Miss, Tier
from likewise.rebuild import Progress
from likewise.replay.calls import Calls, Flight
from likewise.replay.outcome import Outcome, Truth, Way
from likewise.replay.policy import Clock, Plan, Setting, prices_of
from likewise.replay.workload import Changes, Workload
from likewise.request import Controls, Request
from likewise.scope import Scope

_SAMPLES = 600
"""How often over a run the pressure is looked at."""

_BYTES_PER_TOKEN = 4


class Run:
    """One simulation: the columns it fills, and a short method for each event."""

    def __init__(
        self, workload: Workload, plan: Plan, setting: Setting, engine: Engine, clock: Clock
    ) -> None:
        self._workload, self._plan, self._setting = workload, plan, setting
        self._engine, self._clock = engine, clock
        self._model = workload.model
        self._calls = Calls(
            plan.config,
            setting,
            clock,
            engine.load,
            workload.model,
            priority_of=lambda name: engine.force.policies.of(name).priority,
            started=self._started,
            landed=self._landed,
            failed=self._failed,
        )
        self._flights: dict[bytes, Flight] = {}
        self._refreshes = Refreshes(plan.config.settings.gateway.refreshes_per_minute, clock)
        self._refreshing: set[bytes] = set()
        self._changes = Changes(workload)
        count = len(workload)
        self._way, self._truth = bytearray(count), bytearray(count)
        self._outdated, self._stale = bytearray(count), bytearray(count)
        self._wanted = bytearray(count)
        self._latency = array("d", bytes(8 * count))
        self._pressure = array("d")
        self._audits = self._refreshed = 0
        self._prepare()

    def _prepare(self) -> None:
        """Lay out what each request looks up, so that none of it is made anew for every one."""
        workload = self._workload
        names = sorted({q.category for q in workload.questions})
        places = {name: place for place, name in enumerate(names)}
        keys = {k: i for i, k in enumerate(dict.fromkeys(q.answer_key for q in workload.questions))}
        self._names = names
        self._category = [places[q.category] for q in workload.questions]
        self._key = [keys[q.answer_key] for q in workload.questions]
        self._unlike = {
            (keys[a], keys[b]) for a, b in workload.unlike if a in keys and b in keys
        } | {(keys[b], keys[a]) for a, b in workload.unlike if a in keys and b in keys}
        self._questions = workload.question_of.tolist()
        self._tenants = workload.tenant_of.tolist()
        self._inputs = workload.input_tokens.tolist()
        self._outputs = workload.output_tokens.tolist()
        self._usd = prices_of(self._plan.config, workload).tolist()
        self._requests: dict[tuple[int, int], Request] = {}
        self._scopes: dict[tuple[int, str], Scope] = {}
        self._padded = self._counts_bytes()

    def _counts_bytes(self) -> bool:
        """Return whether answers must be as long as in service, because bytes are bounded."""
        policies = self._plan.config.policies
        quotas = [policies.default.quota, *(c.quota for c in policies.categories.values())]
        return self._plan.config.settings.max_bytes is not None or any(
            isinstance(quota, str) for quota in quotas
        )

    # -- the run ----------------------------------------------------------------------------------

    def go(self, progress: Progress) -> None:
        """Let all requests arrive and all calls end."""
        times, heap, clock = self._workload.times_s.tolist(), self._calls.heap, self._clock
        total, begins = len(times), clock.now
        step_s = (times[-1] - times[0]) / _SAMPLES or 1.0
        sample_s = times[0]
        for place, at_s in enumerate(times):
            while heap and heap[0][0] <= begins + at_s:
                self._calls.event()
            clock.now = begins + at_s
            if at_s >= sample_s:
                self._pressure.append(self._engine.load.of(self._model))
                sample_s += step_s * max(1, int((at_s - sample_s) / step_s) + 1)
            self._arrive(place)
            if not place % 500:
                progress(place, total)
        while heap:
            self._calls.event()
        progress(total, total)

    # -- a request --------------------------------------------------------------------------------

    def _arrive(self, place: int) -> None:
        engine = self._engine
        request = self._request(place)
        lookup = engine.start(request)
        decision: Decision | None = engine.guarded(lookup, engine.exact)
        if decision is None:
            decision = engine.guarded(lookup, engine.semantic)
        decision = engine.finish(lookup, decision)
        took_s = self._setting.lookup_s
        if took_s is None:
            took_s = time.perf_counter() - lookup.started
        self._latency[place] = took_s
        if isinstance(decision, Hit):
            self._way[place] = Way.EXACT if decision.tier is Tier.EXACT else Way.SEMANTIC
            self._judge(place, decision)
            self._aside(place, request, lookup, decision)
            return
        self._ask(place, request, lookup, decision)

    def _request(self, place: int) -> Request:
        pair = (self._questions[place], self._tenants[place])
        known = self._requests.get(pair)
        if known is None:
            asked, tenant = self._workload.questions[pair[0]], self._workload.tenants[pair[1]]
            scope = self._scopes.setdefault(
                (pair[1], asked.scope), Scope(tenant, asked.scope, self._model)
            )
            known = self._requests[pair] = Request(
                asked.text,
                scope,
                Controls(category=asked.category),
                exact_only="the log holds no text" if asked.hashed else None,
            )
        return known

    def _ask(self, place: int, request: Request, lookup: Lookup, decision: Miss | Bypass) -> None:
        """Join the call that is under way for the same question, or begin one."""
        shares = isinstance(decision, Miss)
        flight = self._flights.get(lookup.key) if shares else None
        if flight is not None:
            self._way[place] = Way.JOINED
            flight.riders.append(place)
            return
        self._way[place] = Way.CALLED
        self._wanted[place] = True
        keeps = shares or (isinstance(decision, Bypass) and decision.store)
        flight = self._flight(place, request, lookup, decision, riders=[place], keeps=keeps)
        if shares:
            self._flights[lookup.key] = flight
        self._calls.ask(flight)

    def _aside(self, place: int, request: Request, lookup: Lookup, hit: Hit) -> None:
        """Call the model without anybody waiting, to audit a hit or to fetch a fresh answer."""
        if hit.audit is not None:
            self._audits += 1
            self._calls.ask(self._flight(place, request, lookup, hit, riders=[], keeps=False))
            return
        if lookup.key in self._refreshing or lookup.pressure:
            return
        policy = self._engine.force.calm(hit.category, request)
        if self._refreshes.due(hit, policy):
            self._refreshing.add(lookup.key)
            self._refreshed += 1
            self._calls.ask(self._flight(place, request, lookup, hit, riders=[], keeps=True))

    def _flight(
        self,
        place: int,
        request: Request,
        lookup: Lookup,
        decision: Decision,
        *,
        riders: list[int],
        keeps: bool,
    ) -> Flight:
        audited = isinstance(decision, Hit) and decision.audit is not None
        return Flight(
            place,
            request,
            lookup,
            decision.category,
            riders=riders,
            keeps=keeps,
            tokens=self._outputs[place],
            hit=decision if isinstance(decision, Hit) and audited else None,
        )

    def _judge(self, place: int, hit: Hit) -> None:
        """Take down what is known of a served answer."""
        question = self._questions[place]
        key, _, rest = str(hit.answer).partition(":")
        mine, other = self._key[question], int(key)
        if mine == other:
            truth = Truth.RIGHT
        elif self._workload.labelled or (mine, other) in self._unlike:
            truth = Truth.WRONG
        else:
            truth = Truth.UNKNOWN
        self._truth[place] = truth
        self._stale[place] = hit.stale_s > 0
        if self._workload.lifetimes_s and mine == other:
            self._outdated[place] = int(rest.partition(".")[0]) != self._version(question)

    def _version(self, question: int) -> int:
        now_s = self._clock.now - self._workload.begins_at
        return self._changes.version(self._workload.questions[question], now_s)

    # -- a call -----------------------------------------------------------------------------------

    def _started(self, flight: Flight) -> None:
        flight.version = self._version(self._questions[flight.place])

    def _landed(self, flight: Flight) -> None:
        """Hand a call's answer to who waits for it, and keep it."""
        self._over(flight)
        place = flight.place
        answer = f"{self._key[self._questions[place]]}:{flight.version}"
        if self._padded:
            answer += "." * (_BYTES_PER_TOKEN * self._outputs[place])
        if flight.hit is not None:
            self._engine.audited(flight.lookup, flight.hit, answer)
        elif flight.keeps:
            provenance = Provenance(
                self._model,
                self._inputs[place],
                self._outputs[place],
                self._clock.now - flight.begun,
                self._usd[place],
            )
            self._engine.try_keep(flight.request, answer, provenance=provenance)

    def _failed(self, flight: Flight, status: int) -> None:
        """Tell who waits that there is no answer, or serve what is stale where that is allowed."""
        self._over(flight)
        policy = self._engine.force.policies.of(flight.category)
        rescues = policy.stale_if_error is not None and (policy.stale_on_429 or status != TOO_MANY)
        for place in flight.riders:
            stale = self._rescue(flight.lookup) if rescues else None
            self._way[place] = Way.FAILED if stale is None else Way.RESCUED
            if stale is not None:
                self._judge(place, stale)

    def _rescue(self, lookup: Lookup) -> Hit | None:
        engine = self._engine
        decision = engine.guarded(lookup, engine.stale)
        if isinstance(decision, Hit):
            decision = engine.fetch(lookup, decision)
        return decision if isinstance(decision, Hit) else None

    def _over(self, flight: Flight) -> None:
        """Take a call out of those under way, and add to each rider's latency since it came."""
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]
        if not flight.riders:
            self._refreshing.discard(flight.key)
        now_s, times = self._clock.now - self._workload.begins_at, self._workload.times_s
        for place in flight.riders:
            self._latency[place] += now_s - float(times[place])

    def outcome(self, wall_s: float) -> Outcome:
        """Return what came of it, by column."""
        workload = self._workload
        of = np.array(self._category, np.int64)[workload.question_of]
        return Outcome(
            name=self._plan.name,
            slo_s=self._setting.slo_s,
            categories=self._names,
            at_s=workload.times_s,
            category=of,
            way=np.frombuffer(self._way, np.int8),
            truth=np.frombuffer(self._truth, np.int8),
            outdated=np.frombuffer(self._outdated, np.bool_),
            stale=np.frombuffer(self._stale, np.bool_),
            wanted=np.frombuffer(self._wanted, np.bool_),
            latency_s=np.array(self._latency),
            usd=np.array(self._usd),
            calls_s=np.array(self._calls.sent_s),
            calls_of=of[np.array(self._calls.sent_for, np.int64)],
            refused=self._calls.refused,
            audits=self._audits,
            refreshes=self._refreshed,
            pressure=np.array(self._pressure),
            stored=len(self._engine.catalog),
            wall_s=wall_s,
            length_s=self._clock.now - workload.begins_at,
        )
