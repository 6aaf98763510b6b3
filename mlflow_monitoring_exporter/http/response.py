"""What came back, or why nothing did."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import responses as status_phrases

from mlflow_monitoring_exporter.core.foreign_text import excerpt

#: Bytes of a foreign body that are looked at, at its start and at its end.
_LOOK = 64 * 1024
#: A secret that the look cuts in two is not recognised; each half is shorter than this, and beside the cut.
_UNSAFE = 32 * 1024
#: How a page for people begins, whatever its Content-Type says.
_HTML = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?"
    rb"<(?:!doctype\s+html|(?:html|head|body|title|meta|script|style|form|div|iframe|center|h1|p)[\s/>]|!--)",
    re.IGNORECASE,
)
_MULTI_STATUS = 207


class HttpFailedError(Exception):
    """No complete answer came; the text says why, without secrets."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete answer. ``headers`` are looked up without regard to case.

    ``cut`` says that ``body`` is only the beginning of a longer one, ``framed`` that it is all of it for sure: one that
    names no length ends wherever its connection does.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool = False
    framed: bool = True

    @property
    def ok(self) -> bool:
        """Whether all of what was asked for was done.

        Not with 207, which says something about each part, and not with a page for people: proxies answer with one
        that asks for a login, and whoever it was meant for has seen nothing.
        """
        return 200 <= self.status < 300 and self.status != _MULTI_STATUS and not self.is_page

    @property
    def is_page(self) -> bool:
        """Whether it is HTML, by its own word or by its look."""
        start = self.body[:_LOOK]
        if not start.strip():
            return False
        return "html" in self.headers.get("Content-Type", "").lower() or _HTML.match(start) is not None

    def describe(self, redact: Callable[[str], str] = str) -> str:
        """``503 Service Unavailable`` and a plain-text body, of a long one its start and its end, on one line.

        ``redact`` sees the text before it is cut, so that half a secret cannot slip through.
        """
        phrase = status_phrases.get(self.status, "")
        text = f"HTTP {self.status} {phrase}".strip()
        if 300 <= self.status < 400:
            return f"{text} (a redirect, which is not followed)"
        if self.is_page:
            return f"{text} (an HTML page)" if self.status < 300 else text
        readable = excerpt(self._looked_at(redact))
        return f"{text}: {readable}" if readable else text

    def _looked_at(self, redact: Callable[[str], str]) -> str:
        if len(self.body) <= 2 * _LOOK:
            return redact(self.body.decode("utf-8", "replace"))
        start = redact(self.body[:_LOOK].decode("utf-8", "replace"))[:-_UNSAFE]
        return start + redact(self.body[-_LOOK:].decode("utf-8", "replace"))[_UNSAFE:]

    def retry_after(self) -> float | None:
        """Seconds that the server asks us to wait, in seconds or until a date (RFC 9110, 10.2.3)."""
        text = self.headers.get("Retry-After", "").strip()
        if text.isascii() and text.isdecimal():
            return float(text)
        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
        except (ValueError, OverflowError):
            return None
