"""Nothing that leaves the process holds a secret.

Three nets, one behind the other: secrets are ``SecretStr`` or :class:`Secret`, whose text is
asterisks; every URL that is printed loses its user and password; and whatever text still leaves
through the log or the command line is searched for the known secrets themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from pydantic import BaseModel

from mlflow_monitoring_exporter.config.headers import parse_headers
from mlflow_monitoring_exporter.config.section import USERINFO, Section
from mlflow_monitoring_exporter.core.errors import ConfigError

MASK = "[redacted]"
_IN_QUERY = re.compile(r"(?i)[?&]((?:ssl_?)?passw(?:or)?d|passphrase)=([^&\s]+)")
#: Shorter ones occur in ordinary words; masking them would garble the text and betray the secret.
_SHORTEST = 4


class Redactor:
    """Replaces known secrets in any text; callable from every thread."""

    def __init__(self) -> None:
        self._secrets: tuple[str, ...] = ()

    def learn(self, config: Section) -> None:
        """Know the secrets of ``config`` too. Old ones stay known: a log line may be late."""
        found = {s for s in _secrets_of(config) if len(s) >= _SHORTEST}
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


def _of_query(text: str) -> Iterator[str]:
    """Passwords that the URL of a database names behind its question mark, as written and as meant."""
    for _, value in _IN_QUERY.findall(text):
        yield from (value, unquote(value))


def _secrets_of(section: BaseModel) -> Iterator[str]:
    if isinstance(section, Section):
        for name in section.secret_fields():
            try:
                text = section.secret(name).get() or ""
                yield text
                if name == "headers":
                    yield from parse_headers(text).values()
            except (ConfigError, ValueError):
                continue  # reported where it is needed
    for name in type(section).model_fields:
        value = getattr(section, name)
        several = isinstance(value, list | tuple)
        for inner in value.values() if isinstance(value, dict) else value if several else (value,):
            if isinstance(inner, BaseModel):
                yield from _secrets_of(inner)
            elif isinstance(inner, str):
                yield from _of_query(inner)
                for userinfo in USERINFO.findall(inner):
                    yield from (
                        part for text in (userinfo[:-1], unquote(userinfo[:-1])) for part in text.split(":", 1)[1:]
                    )
