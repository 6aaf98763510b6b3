"""What came back, or why nothing did."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import responses as status_phrases

from mlflow_monitoring_exporter.excerpt import excerpt

#: Bytes of a foreign body that are looked at, at its start and at its end.
_LOOK = 64 * 1024
#: A secret that the look cuts in two is not recognised; each half is shorter than this, and beside the cut.
_UNSAFE = 32 * 1024


class HttpFailedError(Exception):
    """No complete answer came; the text says why, without secrets."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete answer. ``headers`` are looked up without regard to case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def describe(self, redact: Callable[[str], str] = str) -> str:
        """``503 Service Unavailable`` and a plain-text body, of a long one its start and its end, on one line.

        ``redact`` sees the text before it is cut, so that half a secret cannot slip through.
        """
        phrase = status_phrases.get(self.status, "")
        text = f"HTTP {self.status} {phrase}".strip()
        if 300 <= self.status < 400:
            return f"{text} (a redirect, which is not followed)"
        if "html" in self.headers.get("Content-Type", ""):
            return text
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
