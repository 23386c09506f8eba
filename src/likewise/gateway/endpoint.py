"""The endpoints whose answers are cached, one for each wire protocol."""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Scope, Send

from likewise.errors import LikewiseError, RequestError
from likewise.gateway.answering import Answering
from likewise.gateway.client import ClientGone, leaving, read_body, until_gone
from likewise.gateway.errors import send_error
from likewise.gateway.exchange import Exchange
from likewise.gateway.pool import Pool
from likewise.gateway.proxy import Proxy
from likewise.gateway.reading import Known, Reader
from likewise.gateway.upstream import given_up
from likewise.gateway.wire.dialect import Dialect


class Endpoint:
    """An ASGI application for the path of one protocol.

    Args:
        dialect: The protocol.
        answering: Answers what could be read.
        pool: Says when the gateway ends.
        proxy: Takes what is for the model to judge.
        known: Where requests are remembered that came lately.
        max_body_bytes: Of a request.
    """

    def __init__(
        self,
        dialect: Dialect,
        *,
        answering: Answering,
        pool: Pool,
        proxy: Proxy,
        known: Known,
        max_body_bytes: int,
    ) -> None:
        self.path = dialect.path
        self._shape = dialect.error_body
        self._answering = answering
        self._pool = pool
        self._proxy = proxy
        self._max_body_bytes = max_body_bytes
        self._reader = Reader(dialect, known)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        reading = True
        try:
            body = await read_body(scope, receive, self._max_body_bytes)
            reading = False
            reader = self._reader
            read = reader.read(scope, body)
            if read.call is None:
                await until_gone(self._proxy.forward(scope, body, send), leaving(receive))
                return
            await self._answering.answer(Exchange(reader, read, read.call, scope, receive, send))
        except ClientGone:
            return
        except asyncio.CancelledError:
            # The server cuts what is left when its grace is over.
            if not self._pool.ended:
                raise
            if reading:
                await send_error(send, given_up(), shape=self._shape)
        except RecursionError:
            # Reading it succeeded, writing it in canonical form did not: a few levels are between.
            error = RequestError("the body's JSON is nested too deeply")
            await send_error(send, error, shape=self._shape)
        except LikewiseError as error:
            await send_error(send, error, shape=self._shape)
