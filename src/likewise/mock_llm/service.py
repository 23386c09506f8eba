"""The stand-in as a queue: who is served, who waits, who is refused."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, replace

from likewise.service_time import ServiceTime


class Refused(Exception):  # noqa: N818 - an answer of the model's, no error of ours
    """There is no room in the line."""


@dataclass(frozen=True, slots=True)
class Served:
    """How long the parts of one answer take, in seconds."""

    first_s: float
    rest_s: float


class Service:
    """Serves by the law of ``service_time``. Lives in one event loop.

    A place is given up when the law says that the answer is complete, whether its client is still
    there or not: a model does not always notice.
    """

    def __init__(self, law: ServiceTime) -> None:
        self._law = law
        self._line: deque[asyncio.Future[None]] = deque()
        self.in_service = 0
        self.refused = 0

    def report(self) -> dict[str, int]:
        """Return how many are served, wait and were refused so far, ready for JSON."""
        return {
            "in_service": self.in_service,
            "waiting": len(self._line),
            "refused": self.refused,
        }

    async def enter(self, output_tokens: int, *, first_token_s: float | None = None) -> Served:
        """Wait for a place and take it for as long as the answer takes.

        Args:
            output_tokens: Tokens of the answer.
            first_token_s: In the place of the law's.

        Raises:
            Refused: Too many wait already.
        """
        law = self._law
        if not law.admits(self.in_service):
            if law.refuses(len(self._line)):
                self.refused += 1
                raise Refused
            await self._wait()
        else:
            self.in_service += 1
        if first_token_s is not None:
            law = replace(law, first_token_s=first_token_s)
        first_s = law.seconds(0, self.in_service)
        whole_s = law.seconds(output_tokens, self.in_service)
        asyncio.get_running_loop().call_later(whole_s, self._leave)
        return Served(first_s, whole_s - first_s)

    async def _wait(self) -> None:
        """Wait until one who leaves hands on the place."""
        turn = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()  # the place was handed to one who has gone
            else:
                self._line.remove(turn)
            raise

    def _leave(self) -> None:
        """Give up a place; the next in line has it at once, so that nobody slips in between."""
        if self._line:
            self._line.popleft().set_result(None)
        else:
            self.in_service -= 1
