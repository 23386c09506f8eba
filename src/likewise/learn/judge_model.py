"""A judge of answers that asks a model."""

from __future__ import annotations

import msgspec
import urllib3

from likewise.answers import answer_text, normalised
from likewise.breaker import CircuitBreaker
from likewise.errors import ConfigError, JudgeError

_MOST_CHARACTERS = 8_000
_INSTRUCTION = (
    "Two people asked a question each. Decide whether the answer given to the first would also "
    "have been a right and complete answer for the second, whose own answer is shown. Differences "
    "of wording do not matter; differences of fact, number, name, time or scope do. Reply with the "
    "one word yes or no."
)


class ModelJudge:
    """A model at any OpenAI-compatible server, asked for the one word yes or no.

    Args:
        base_url: Of the server; ``/chat/completions`` is appended.
        model: Its name there.
        api_key: Sent as a bearer token.
        timeout_s: After it the judgement counts as failed; five in a row open a breaker.
    """

    def __init__(
        self, *, base_url: str, model: str, api_key: str | None = None, timeout_s: float = 30.0
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            msg = f"learning.judge_model.base_url: {base_url!r} is not an http or https URL"
            raise ConfigError(msg)
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._model = model
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._pool = urllib3.PoolManager(timeout=timeout_s, retries=False)
        self._breaker = CircuitBreaker()

    def same(self, question: str, stored: object, fresh: object) -> bool | None:
        """See ``Judge.same``."""
        if normalised(stored) == normalised(fresh):
            return True
        if not self._breaker.allow():
            msg = "the judge model failed too often and is left alone for a while"
            raise JudgeError(msg)
        try:
            verdict = self._ask(question, answer_text(stored), answer_text(fresh))
        except (
            urllib3.exceptions.HTTPError,
            msgspec.MsgspecError,
            UnicodeDecodeError,
            KeyError,
            IndexError,
        ) as error:
            self._breaker.record_failure()
            msg = f"the judge model did not answer: {type(error).__name__}"
            raise JudgeError(msg) from error
        self._breaker.record_success()
        return verdict

    def _ask(self, question: str, stored: str, fresh: str) -> bool | None:
        shown = {
            "question of the second": question[:_MOST_CHARACTERS],
            "answer given to the first": stored[:_MOST_CHARACTERS],
            "answer given to the second": fresh[:_MOST_CHARACTERS],
        }
        body = {
            "model": self._model,
            "temperature": 0,
            "messages": [
                {"role": "system", "content": _INSTRUCTION},
                {"role": "user", "content": msgspec.json.encode(shown).decode()},
            ],
        }
        reply = self._pool.request(
            "POST", self._url, body=msgspec.json.encode(body), headers=self._headers
        )
        if reply.status != 200:
            msg = f"status {reply.status}"
            raise urllib3.exceptions.HTTPError(msg)
        word = msgspec.json.decode(reply.data)["choices"][0]["message"]["content"]
        word = str(word).strip().strip(".!*'\"").lower()
        return True if word.startswith("yes") else False if word.startswith("no") else None
