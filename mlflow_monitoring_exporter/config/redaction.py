"""The secrets of a configuration: ``SecretStr``, :class:`Secret`, and what stands in URLs and headers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

from pydantic import BaseModel

from mlflow_monitoring_exporter.config.headers import parse_headers
from mlflow_monitoring_exporter.config.section import Section
from mlflow_monitoring_exporter.core.errors import ConfigError
from mlflow_monitoring_exporter.core.redaction import USERINFO

_IN_QUERY = re.compile(r"(?i)[?&]((?:ssl_?)?passw(?:or)?d|passphrase)=([^&\s]+)")


def secrets_of(section: BaseModel) -> Iterator[str]:
    """Every secret that a configuration holds, also those inside its URLs."""
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
                yield from secrets_of(inner)
            elif isinstance(inner, str):
                yield from _of_query(inner)
                for userinfo in USERINFO.findall(inner):
                    yield from (
                        part for text in (userinfo[:-1], unquote(userinfo[:-1])) for part in text.split(":", 1)[1:]
                    )


def _of_query(text: str) -> Iterator[str]:
    """Passwords that the URL of a database names behind its question mark, as written and as meant."""
    for _, value in _IN_QUERY.findall(text):
        yield from (value, unquote(value))
