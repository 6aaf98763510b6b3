"""How many connections there may be, and how long each may keep us waiting.

::

    accepted --> waits for a request ----------> is answered -----+
                    |  ^   _REQUEST s, TLS        |  _ANSWER s    |
                    |  +--------------------------|---------------+   the next request
                    v                             v
                 closed                        closed

Nothing that a client sends moves its deadline but a whole request. When there is no more room, the one that has
waited longest is closed for a new one: a client that means it sends its request at once, and so is never the one.

uvicorn limits only how long a connection is idle after an answer; docs/decisions/0009-pages.md has what others offer.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from contextlib import suppress
from typing import Any

import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

_log = structlog.get_logger(__name__)

#: Seconds until a request must be there whole, the TLS handshake included; and until its answer must be taken.
REQUEST, ANSWER = 10.0, 60.0
#: Connections, and the part of the file descriptors that they may have at most: the rest is for our own work.
_MOST, _PART = 128, 4
#: Seconds until there may be room; and those that the newest connections have at least to say something.
_A_MOMENT, _GRACE = 0.02, 0.25
#: Seconds between two lines in the log about the same trouble.
_SILENCE = 300.0


def most_connections() -> int:
    """How many there may be in this process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else max(1, min(_MOST, soft // _PART))


class Connections:
    """Those that are open, in the order in which they began to wait, or to be answered, with the time of that.

    For one event loop.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[Connection, float] = {}
        self._answered: dict[Connection, float] = {}
        self._quiet_until: dict[str, float] = {}

    def waits(self, connection: Connection) -> None:
        """For a request, from now on."""
        self._answered.pop(connection, None)
        self._waiting[connection] = time.monotonic()

    def is_answered(self, connection: Connection) -> None:
        self._waiting.pop(connection, None)
        self._answered[connection] = time.monotonic()

    def ended(self, connection: Connection) -> None:
        self._waiting.pop(connection, None)
        self._answered.pop(connection, None)

    async def make_room(self) -> None:
        """Close connections until another one may come; while all of them are being worked for, wait."""
        while len(self._waiting) + len(self._answered) >= self._most:
            idle = self._longest_idle()
            if idle is None:
                await asyncio.sleep(_A_MOMENT)
                continue
            self.ended(idle)
            idle.cut()
            self.tell_once("too many connections: those that waited longest are closed for new ones", most=self._most)

    def _longest_idle(self) -> Connection | None:
        """Who sends nothing, or else who does not read; None when it is us who are slow."""
        early_enough = time.monotonic() - _GRACE
        unread = (one for one in self._answered if one.flow.write_paused)
        found = next(iter(self._waiting), None) or next(unread, None)
        if found is None or (self._waiting.get(found) or self._answered.get(found, 0.0)) > early_enough:
            return None
        return found

    def close(self, *, answered: bool) -> None:
        """Close those that wait, and with ``answered`` the others as well."""
        for connection in [*self._waiting, *(self._answered if answered else ())]:
            connection.cut()

    def tell_once(self, event: str, **facts: object) -> None:
        """Log what may go on for long, and happen a thousand times a second."""
        now = time.monotonic()
        if now >= self._quiet_until.get(event, now):
            self._quiet_until[event] = now + _SILENCE
            _log.warning(event, **facts)


class Connection(H11Protocol):
    """HTTP over one accepted socket, which is closed when the client is late."""

    def __init__(self, accepted: socket.socket, connections: Connections, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._accepted = accepted
        self._known = connections
        self._timer: asyncio.TimerHandle | None = None
        self._is_answered = False
        self._wait()

    def cut(self) -> None:
        """Close the connection at once, whatever is under way."""
        if self.transport is not None:
            self.transport.abort()
        else:
            with suppress(OSError):  # a TLS handshake is under way, or the client is gone
                self._accepted.shutdown(socket.SHUT_RDWR)

    def ended(self) -> None:
        """Nothing will come of it any more."""
        self._known.ended(self)
        if self._timer is not None:
            self._timer.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        if not self._is_answered and self.cycle is not None and not self.cycle.response_complete:
            self._is_answered = True
            self._known.is_answered(self)
            self._cut_in(ANSWER)

    def on_response_complete(self) -> None:
        if not self.transport.is_closing():
            self._wait()
        super().on_response_complete()

    def _wait(self) -> None:
        self._is_answered = False
        self._known.waits(self)
        self._cut_in(REQUEST)

    def _cut_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self.cut)
