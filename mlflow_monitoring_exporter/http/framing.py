"""Where an answer begins and ends (RFC 9112): one that is cut anywhere is no answer.

``http.client`` takes the end of the connection for the end of the header block, of a chunk's size and of the
trailer. A peer that answers half a status line and goes away would have said yes to a delivery that it may never
have looked at. It also leaves early hints (103) for the answer to the next request, and chooses one of two lengths.

A body that names no length ends with its connection, which HTTP allows and old servers do: that it is whole cannot be
known from outside. The answer counts by its header block; who needs the body must see whether it makes sense.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse, IncompleteRead, RemoteDisconnected
from typing import Any

#: Bytes of a line, lines of a header block, and answers before the answer, at most.
_LONGEST_LINE = 1 << 16
_MOST_LINES = 100
_MOST_INTERIM = 100

_STATUS = re.compile(rb"HTTP/[01]\.[0-9][ \t]+([1-9][0-9]{2})(?:[ \t][^\r\n\0]*)?\r?\n")
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\r?\n")
_CONTINUED = re.compile(rb"[ \t][^\r\n\0]*\r?\n")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n\0]*)?\r?\n")
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)
_SWITCHING, _NO_CONTENT, _NOT_MODIFIED = 101, 204, 304


class MalformedAnswerError(HTTPException):
    """What came is not an answer in HTTP/1; the text says why, in our own words."""


class _Stream(io.BufferedReader):
    """What a connection says. A line is one only with its end: raises IncompleteRead without.

    While ``chunks`` come each line is the size of one, of which ``left`` bytes are still to be read. urllib3 takes
    whatever Python takes for a number, and anything for the end of a chunk.
    """

    chunks = False
    left = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if not line.endswith(b"\n") and len(line) != size:
            raise IncompleteRead(line)
        if self.chunks:
            found = _CHUNK.fullmatch(line)
            if found is None:
                raise MalformedAnswerError("a chunk does not say how long it is")
            self.left = int(found[1], 16)
            self.chunks = self.left > 0  # the trailer follows the last one
        return line


class FramedResponse(HTTPResponse):
    """An answer of which nothing is made up that did not come.

    For ``response_class`` of a connection. Raises IncompleteRead where the connection ends too early, and
    MalformedAnswerError for what cannot be told where it ends.
    """

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        # Any: whatever kind of socket http.client was given, with the arguments that it passes on.
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = self._stream = _Stream(sock.makefile("rb", buffering=0))

    def begin(self) -> None:
        """Read the header block of the final answer."""
        if self.headers is not None:
            return
        head = self._final_head()
        connection, self.fp = self.fp, io.BytesIO(head)
        try:
            super().begin()
        finally:
            self.fp = connection
        self._frame()

    def _safe_read(self, amt: int) -> bytes:
        """What urllib3 reads of a chunk, and of its end."""
        data: bytes = super()._safe_read(amt)  # type: ignore[misc]  # of http.client, and what urllib3 calls
        if self._stream.chunks:
            if self._stream.left:
                self._stream.left -= len(data)
            elif data != b"\r\n":
                raise MalformedAnswerError("a chunk does not end where it says")
        return data

    def _final_head(self) -> bytes:
        for _ in range(_MOST_INTERIM):
            status, head = self._head()
            if status == _SWITCHING:
                raise MalformedAnswerError("it switches to a protocol that was not asked for")
            if status >= 200:
                return head
        raise MalformedAnswerError("it announces an answer again and again")

    def _head(self) -> tuple[int, bytes]:
        """The next header block, and the status in it."""
        if not self.fp.peek(1):
            raise RemoteDisconnected("Remote end closed connection without response")
        lines = [self._line()]
        found = _STATUS.fullmatch(lines[0])
        if found is None:
            raise MalformedAnswerError("it does not begin with a status")
        while (line := self._line()) not in (b"\r\n", b"\n"):
            if not (_FIELD.fullmatch(line) or (len(lines) > 1 and _CONTINUED.fullmatch(line))):
                raise MalformedAnswerError("a line of its header block is no header")
            lines.append(line)
            if len(lines) > _MOST_LINES:
                raise MalformedAnswerError("it has too many headers")
        return int(found[1]), b"".join([*lines, line])

    def _line(self) -> bytes:
        line = self.fp.readline(_LONGEST_LINE)
        if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
            raise MalformedAnswerError("a header is too long")
        return line

    def _frame(self) -> None:
        """How long the body is. One of two ways to say so counts, and then the connection is not used again."""
        codings = [coding.lower() for coding in _listed(self.headers.get_all("Transfer-Encoding"))]
        lengths = set(_listed(self.headers.get_all("Content-Length")))
        if self.status in (_NO_CONTENT, _NOT_MODIFIED):
            if codings or lengths - {"0"}:
                del self.headers["Transfer-Encoding"], self.headers["Content-Length"]
                self.chunked, self.will_close = False, True
            return
        if codings:
            if codings != ["chunked"]:
                raise MalformedAnswerError("it has a transfer encoding that was not asked for")
            del self.headers["Content-Length"]
            self.chunked, self.length = True, None
            self._stream.chunks = True
            self.will_close = self.will_close or bool(lengths)
        elif lengths:
            if len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
                raise MalformedAnswerError("it does not say clearly how long it is")
            (length,) = lengths
            del self.headers["Content-Length"]
            self.headers["Content-Length"] = length
            self.length = int(length)


def _listed(values: list[str] | None) -> list[str]:
    """The members of a header that is a list, over all its lines."""
    return [member.strip() for value in values or () for member in value.split(",")]


def says_its_length(status: int, headers: Mapping[str, str]) -> bool:
    """Whether a body that was read without an error is whole for sure."""
    if status in (_NO_CONTENT, _NOT_MODIFIED):
        return True
    return "Content-Length" in headers or "Transfer-Encoding" in headers
