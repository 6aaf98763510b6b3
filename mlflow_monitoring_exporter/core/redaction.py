"""No text that leaves the process holds a secret: whatever is logged or printed passes here.

Two nets: every URL loses its user and password, and the known secrets themselves are searched for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

MASK = "[redacted]"
#: Of a URL: the user and the password, with the @ behind them.
USERINFO = re.compile(r"(?<=://)[^/?#\s]*@")
#: Shorter ones occur in ordinary words; masking them would garble the text and betray the secret.
_SHORTEST = 4


class Redactor:
    """Replaces known secrets in any text; callable from every thread."""

    def __init__(self) -> None:
        self._secrets: tuple[str, ...] = ()

    def learn(self, secrets: Iterable[str]) -> None:
        """Know these secrets, too. Old ones stay known: a log line may be late."""
        found = {secret for secret in secrets if len(secret) >= _SHORTEST}
        self._secrets = tuple(sorted({*self._secrets, *found}, key=len, reverse=True))

    def text(self, text: str) -> str:
        """``text`` without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return USERINFO.sub(f"{MASK}@", text) if "@" in text else text

    def value(self, value: Any) -> Any:
        """``value`` with the text in it redacted; containers are copied, other types kept."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.value(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(self.value, value)) if type(value) in (list, tuple) else self.text(repr(value))
        if value is None or isinstance(value, bool | int | float):
            return value
        return self.text(str(value))
