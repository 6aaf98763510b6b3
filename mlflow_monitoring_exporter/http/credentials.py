"""Who we are to a server, and how an address looks without it."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from urllib.parse import unquote, urlsplit, urlunsplit

import requests
from pydantic import SecretStr
from requests.auth import AuthBase

from mlflow_monitoring_exporter.config.headers import parse_headers
from mlflow_monitoring_exporter.config.section import Secret
from mlflow_monitoring_exporter.http.response import HttpFailedError


def display_url(url: str) -> str:
    """``url`` without the user and password that it may hold."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, parts.query, parts.fragment))


class Credentials(AuthBase):
    """Basic or bearer authentication, and headers, whose secrets may rotate; given none, sends nothing.

    Being an ``auth`` object it also keeps ``requests`` from consulting ``~/.netrc``.
    """

    def __init__(
        self,
        *,
        username: str | None = None,
        password: Secret | None = None,
        token: Secret | None = None,
        headers: Secret | None = None,
        scheme: str = "Bearer",
    ) -> None:
        self._username = username
        self._password = password
        self._token = token
        self._headers = headers
        self._scheme = scheme

    @classmethod
    def from_url(cls, url: str) -> Credentials | None:
        """The credentials of ``http://user:password@host``; None when there are none."""
        parts = urlsplit(url)
        if parts.username is None:
            return None
        return cls(username=unquote(parts.username), password=Secret(SecretStr(unquote(parts.password or ""))))

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self.sent())
        return request

    def plus(self, *, headers: Secret) -> Credentials:
        """The same, and these headers."""
        return Credentials(username=self._username, password=self._password, token=self._token, headers=headers)

    def sent(self) -> dict[str, str]:
        """The headers that say who we are, as they are now. Raises HttpFailedError for what no header can carry."""
        headers = self._own_headers()
        token = self._token.get() if self._token else None
        if token is not None:
            if not (token.isascii() and token.isprintable()):
                raise HttpFailedError("the token holds characters that an HTTP header cannot carry")
            headers["Authorization"] = f"{self._scheme} {token}"
        elif self._username is not None:
            headers["Authorization"] = f"Basic {self._pair()}"
        return headers

    def _own_headers(self) -> dict[str, str]:
        """The operator's, by their names."""
        try:
            return parse_headers((self._headers.get() if self._headers else None) or "")
        except ValueError as error:
            raise HttpFailedError(f"the file of headers: {error}") from None

    def _pair(self) -> str:
        password = (self._password.get() if self._password else None) or ""
        return b64encode(f"{self._username}:{password}".encode()).decode("ascii")

    def redact(self, text: str) -> str:
        """``text`` without our secrets, should a server have repeated them, in the clear or as they were sent."""
        values = [secret.get() for secret in (self._token, self._password) if secret]
        with suppress(HttpFailedError):
            values += self._own_headers().values()
        if self._username is not None:
            values.append(self._pair())
        for value in values:
            if value:
                text = text.replace(value, "[redacted]")
        return text
