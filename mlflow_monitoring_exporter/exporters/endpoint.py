"""What exporters that speak HTTP have in common: keys of their blocks, and one way to send.

::

    class AcmeConfig(AuthenticatedHttp, BatchExporterConfig): ...

    endpoint = Endpoint(config.endpoint, config, credentials=config.credentials_for(config.endpoint))
    answer = endpoint.send("POST", deadline=deadline, body=b"...")     # RetryableExportError: none came
    if not answer.ok:
        raise endpoint.refusal(answer, keyed=True)                     # keyed: it carried an idempotency key
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from mlflow_monitoring_exporter.config.auth import BasicOrTokenAuth
from mlflow_monitoring_exporter.config.fields import Duration
from mlflow_monitoring_exporter.config.headers import Headers
from mlflow_monitoring_exporter.config.tls import ClientTls
from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import ExportError, RetryableExportError
from mlflow_monitoring_exporter.exporters.answers import REACHED, to_error
from mlflow_monitoring_exporter.http import Credentials, HttpClient, HttpFailedError, HttpResponse, display_url

#: Bytes of an answer that are read and thrown away: an acknowledgement is one, however much is said with it.
_SURPLUS = 1 << 24


class HttpSettings(ClientTls):
    """How any platform is reached."""

    timeout: Duration = Field(10.0, description="total time for one request")


class AuthenticatedHttp(HttpSettings, BasicOrTokenAuth):
    """How a platform is reached that may want to know by whom, in one of the usual ways."""

    headers: Headers | None = Field(None, description="sent with every request; a mapping, or Name: value lines")
    headers_file: Path | None = Field(None, description="the same, in a file: one Name: value in each line")

    def credentials_for(self, url: str, *, scheme: str = "Bearer") -> Credentials:
        """All of it, for requests; a user and a password of ``url`` count where none is given.

        ``scheme`` is what stands before the token.
        """
        of_url = Credentials.from_url(url)
        if of_url is not None and self.username is None and not self.secret("token"):
            return of_url.plus(headers=self.secret("headers"))
        return Credentials(
            username=self.username,
            password=self.secret("password"),
            token=self.secret("token"),
            headers=self.secret("headers"),
            scheme=scheme,
        )


class Endpoint:
    """One address, and the session with whoever listens there. Not for several threads at once."""

    def __init__(
        self, url: str, settings: HttpSettings, *, credentials: Credentials | None = None, max_body: int = 1 << 20
    ) -> None:
        """``credentials`` win over those that ``url`` holds; ``max_body`` bytes of an answer are kept."""
        self._url = url
        self.where = display_url(url)
        self._timeout = settings.timeout
        self._client = HttpClient(
            credentials=credentials or Credentials.from_url(url),
            ca_file=settings.ca_file,
            client_cert_file=settings.client_cert_file,
            client_key_file=settings.client_key_file,
            max_body=max_body,
            surplus=_SURPLUS,
        )

    def send(
        self,
        method: str,
        path: str = "",
        *,
        deadline: Deadline | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str | list[str]] | None = None,
    ) -> HttpResponse:
        """The answer to one request, whatever its status; raises RetryableExportError when none came in time."""
        timeout = Deadline.after(self._timeout) if deadline is None else deadline.earlier(self._timeout)
        try:
            return self._client.request(
                method, self._url + path, deadline=timeout, body=body, headers=headers, params=params
            )
        except HttpFailedError as error:
            raise RetryableExportError(f"{self.where}: {error}") from None

    def refusal(self, answer: HttpResponse, what: str = "", *, keyed: bool = False) -> ExportError:
        """The error that an answer without success means; ``what`` says what was asked for.

        ``keyed`` says that the request carried an idempotency key, so that 409 means that the first one with it is
        still in work.
        """
        return to_error(answer, self.told(answer, what), keyed=keyed)

    @staticmethod
    def reached(answer: HttpResponse) -> bool:
        """Whether the answer shows that the platform is reachable, even where it lacks what was asked for."""
        return answer.ok or answer.status in REACHED

    def told(self, answer: HttpResponse, what: str = "") -> str:
        """What was answered, for people, without our secrets."""
        return f"{self.where} answered {self._client.describe(answer)}{f' ({what})' if what else ''}"

    def close(self) -> None:
        self._client.close()
