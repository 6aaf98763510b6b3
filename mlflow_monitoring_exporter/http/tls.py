"""Certificates for ``requests``, which reads them by path, once, and keeps connections that the old ones made."""

from __future__ import annotations

import re
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from mlflow_monitoring_exporter.config.tls import TlsFiles, TlsFilesError
from mlflow_monitoring_exporter.http.response import HttpFailedError

_REASON = re.compile(r"\[SSL: ([A-Z0-9_]+)\] ([^()]+)")
#: What a server says of our certificate, or of there being none (RFC 8446, 6.2).
_ABOUT_OURS = re.compile(
    r"ALERT_(NO_CERTIFICATE|BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|CERTIFICATE_\w+|UNKNOWN_CA|ACCESS_DENIED)"
    r"|ALERT_HANDSHAKE_FAILURE|CERTIFICATE_REQUIRED"
)


class TlsAdapter(HTTPAdapter):
    """Connects with certificates as they are now; those of before are not used any more once files changed."""

    def __init__(self, files: TlsFiles, **arguments: Any) -> None:
        self._files = files
        self._context: Any = None
        super().__init__(**arguments)

    def renew(self) -> None:
        """Before each request to ``https://``. Raises HttpFailedError for files that cannot be used now."""
        try:
            context = self._files.context()
        except TlsFilesError as error:
            raise HttpFailedError(str(error)) from None
        if context is not self._context:
            self.close()  # pooled connections; the adapter goes on
            self.proxy_manager.clear()
            self._context = context

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        del verify, cert  # both are in the context
        # Any: requests' own types of these two are private.
        parts: Any = super().build_connection_pool_key_attributes(request, True)
        host, pool = parts
        if host["scheme"] == "https":
            pool["ssl_context"] = self._context
        return parts

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().get_connection_with_tls_context(*args, **kwargs)
        except TypeError:  # what requests makes of http://user:password@
            raise requests.exceptions.InvalidProxyURL from None

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """As the context does; requests would add the public authorities to ours."""
        del url, verify, cert
        conn.cert_reqs = "CERT_REQUIRED"

    def proxy_manager_for(self, proxy: Any, **arguments: Any) -> Any:
        if proxy not in self.proxy_manager and str(proxy).lower().startswith("https:"):
            try:
                arguments["proxy_ssl_context"] = self._files.trusting()
            except TlsFilesError as error:
                raise HttpFailedError(str(error)) from None
        return super().proxy_manager_for(proxy, **arguments)


def why_tls(error: Exception, files: TlsFiles) -> str | None:
    """What went wrong between our certificates and the server's, if that is what went wrong."""
    said = str(error)
    match = _REASON.search(said)
    if match is None:
        broken = isinstance(error, requests.exceptions.SSLError) and "EOF occurred" not in said
        return "TLS failed: the certificate was not accepted" if broken else None
    return f"TLS failed: {match[2].strip()}{_advice(match[1], match[2], files)}"


def _advice(code: str, words: str, files: TlsFiles) -> str:
    if code == "CERTIFICATE_VERIFY_FAILED":
        of_time_or_name = any(word in words.lower() for word in ("expired", "not yet valid", "mismatch"))
        return "" if of_time_or_name else "; ca_file must hold the authority that signed it"
    if _ABOUT_OURS.search(code):
        if files.cert_file is not None:
            return f"; this is about our certificate, client_cert_file {files.cert_file}"
        return "; the server wants a client certificate: set client_cert_file"
    return ""


def cut_off(files: TlsFiles) -> str:
    """What may be behind a connection that a server ended without a word, as some do who refuse a certificate."""
    if files.cert_file is not None:
        return f"; it may not accept client_cert_file {files.cert_file}"
    return "; it may want a client certificate (client_cert_file)"
