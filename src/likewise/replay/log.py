"""The gateway's log as a workload: what was asked, when, and what the labels say.

One JSON object a line, told apart by ``event``: ``request`` (what was asked and decided),
``answer`` (what the model said of itself) and ``label`` (whether an entry would have been right for
a request). Other events and other fields are passed over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import msgspec
import numpy as np

from likewise.category import DEFAULT
from likewise.errors import ConfigError
from likewise.replay.lines import decoded
from likewise.replay.workload import Question, Workload

_TOKENS = 150


class LogLine(msgspec.Struct, frozen=True):
    """A line of the log, whatever its event; what an event does not have is ``None``."""

    event: str
    t: float = 0.0
    id: str = ""
    model: str | None = None
    tenant: str | None = None
    category: str | None = None
    question: str | None = None
    question_hash: str | None = None
    scope: str | None = None
    decision: str | None = None
    entry_id: str | None = None
    status: int | None = None
    latency_s: float | None = None
    first_token_s: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    in_flight: int | None = None
    right: bool | None = None


@dataclass(slots=True)
class Log:
    """The lines of a log by what they tell.

    ``requests`` and ``answers`` are in order of time; ``labels`` as they came.
    """

    path: Path
    requests: list[LogLine] = field(default_factory=list)
    answers: list[LogLine] = field(default_factory=list)
    labels: list[LogLine] = field(default_factory=list)


def read_log(path: Path) -> Log:
    """Read a gateway's log; see the module.

    Raises:
        ConfigError: It cannot be read, a line is wrong, or there is no request in it.
    """
    log = Log(path)
    for number, line in decoded(path, LogLine, partial_end=True):
        match line.event:
            case "request":
                if line.question is None and not line.question_hash:
                    msg = f"{path.name}, line {number}: a request without question and "
                    raise ConfigError(msg + "question_hash; one of them must be there")
                log.requests.append(line)
            case "answer":
                log.answers.append(line)
            case "label":
                log.labels.append(line)
    if not log.requests:
        msg = f"{path} holds no request; write one with: likewise serve --log {path.name}"
        raise ConfigError(msg)
    log.requests.sort(key=lambda line: line.t)
    log.answers.sort(key=lambda line: line.t)
    return log


def workload_of(log: Log, *, compress: float = 1.0, count: int | None = None) -> Workload:
    """Return what a log's clients asked, as a workload.

    Where the log holds hashes in the place of texts, only equal questions can be told: these are
    served by the exact tier only. Tokens of a request that was a hit are those of the entry that
    served it, of another request with the same question, or the log's median.

    Raises:
        ConfigError: The factor is not a number above 0.
    """
    if not 0 < compress < float("inf"):
        msg = f"--compress: {compress} is not a number above 0"
        raise ConfigError(msg)
    lines = log.requests if count is None else log.requests[:count]
    keys = _keys(log)
    questions: dict[Question, int] = {}
    tenants: dict[str, int] = {}
    question_of, tenant_of = [], []
    for line in lines:
        identity = _identity(line)
        asked = Question(
            line.category or DEFAULT,
            identity if line.question is None else line.question,
            keys.find(identity),
            line.scope or "",
            line.question is None,
        )
        question_of.append(questions.setdefault(asked, len(questions)))
        tenant_of.append(tenants.setdefault(line.tenant or "", len(tenants)))
    tokens = _tokens(log, lines)
    times_s = np.array([line.t for line in lines], np.float64)
    models = Counter(line.model for line in lines if line.model)
    return Workload(
        name=log.path.name,
        questions=list(questions),
        tenants=list(tenants),
        times_s=(times_s - times_s[0]) / compress,
        question_of=np.array(question_of, np.int64),
        tenant_of=np.array(tenant_of, np.int64),
        input_tokens=np.array([pair[0] for pair in tokens], np.int64),
        output_tokens=np.array([pair[1] for pair in tokens], np.int64),
        model=models.most_common(1)[0][0] if models else "model",
        begins_at=float(times_s[0]),
        labelled=False,
        unlike=keys.unlike,
    )


def _identity(line: LogLine) -> str:
    """Return what is equal for equal questions; without a hash the text itself."""
    return line.question_hash or line.question or ""


class _Keys:
    """Questions that labels have joined, and pairs that they have parted."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}
        self._parted: list[tuple[str, str]] = []

    def find(self, identity: str) -> str:
        """Return the one that stands for all that are joined with a question."""
        top = identity
        while (above := self._above.get(top, top)) != top:
            top = above
        while (above := self._above.get(identity, identity)) != top:
            self._above[identity] = top
            identity = above
        return top

    def join(self, one: str, other: str) -> None:
        """Take two questions for the same."""
        self._above[self.find(one)] = self.find(other)

    def part(self, one: str, other: str) -> None:
        """Remember that two questions are not the same."""
        self._parted.append((one, other))

    @property
    def unlike(self) -> frozenset[tuple[str, str]]:
        """The pairs of keys that are not the same, the lesser first."""
        pairs = ((self.find(one), self.find(other)) for one, other in self._parted)
        return frozenset((min(p), max(p)) for p in pairs if p[0] != p[1])


def _keys(log: Log) -> _Keys:
    """Return what the labels say.

    A label is of a question and the entry nearest to it, or the one it was served: that which the
    latest request with this question names, unless the label does itself.
    """
    asked = {line.id: _identity(line) for line in log.requests if line.id}
    stored = _stored(log.answers, asked)
    keys = _Keys()
    nearest: dict[str, str] = {}
    requests = iter(log.requests)
    request = next(requests, None)
    for label in sorted(log.labels, key=lambda line: line.t):
        while request is not None and request.t <= label.t:
            if request.entry_id:
                nearest[_identity(request)] = request.entry_id
            request = next(requests, None)
        one = asked.get(label.id) or _identity(label)
        other = stored.get(label.entry_id or nearest.get(one, ""))
        if not one or other is None or label.right is None:
            continue
        if label.right:
            keys.join(one, other)
        else:
            keys.part(one, other)
    return keys


def _stored(answers: Iterable[LogLine], asked: dict[str, str]) -> dict[str, str]:
    """Return the question of every entry that an answer of the log became."""
    return {line.entry_id: asked[line.id] for line in answers if line.entry_id and line.id in asked}


def _tokens(log: Log, lines: Sequence[LogLine]) -> list[tuple[int, int]]:
    """Return the tokens, in and out, of every request."""
    by_id, by_entry, by_question = {}, {}, {}
    asked = {line.id: _identity(line) for line in log.requests if line.id}
    for answer in log.answers:
        if answer.completion_tokens is None:
            continue
        pair = (answer.prompt_tokens or 0, answer.completion_tokens)
        by_id[answer.id] = pair
        if answer.entry_id:
            by_entry[answer.entry_id] = pair
        if answer.id in asked:
            by_question[asked[answer.id]] = pair
    usual = (_TOKENS, _TOKENS)
    if by_id:
        usual = (
            int(median(pair[0] for pair in by_id.values())),
            int(median(pair[1] for pair in by_id.values())),
        )
    return [
        by_id.get(line.id)
        or by_entry.get((line.decision == "hit" and line.entry_id) or "")
        or by_question.get(_identity(line))
        or usual
        for line in lines
    ]
