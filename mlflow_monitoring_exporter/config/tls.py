"""Certificates: which files hold them, and what is wrong with those.

Files are read when a connection is made, and again once they changed, so that a rotated one needs no restart.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from mlflow_monitoring_exporter.config.section import Section
from mlflow_monitoring_exporter.core.disclosure import is_shown_file

#: What names a bundle of authorities where no ``ca_file`` does, in this order; a directory of them, too.
BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")

#: Bytes of a certificate chain or key.
_LARGEST = 1 << 20

Stamp = tuple[tuple[int, int, int] | None, ...]
"""What tells one content of files from another: inode, size and time of each."""


class ClientTls(Section):
    """Whom a client trusts, and who it says it is."""

    ca_file: Path | None = Field(None, description="PEM bundle that the server's certificate is checked against")
    client_cert_file: Path | None = Field(
        None, description="PEM certificate chain that we show the server; may hold the key, too"
    )
    client_key_file: Path | None = Field(None, description="unencrypted PEM key of client_cert_file")

    @model_validator(mode="after")
    def _key_of_what(self) -> Self:
        if self.client_key_file and not self.client_cert_file:
            raise ValueError("client_key_file needs client_cert_file, the certificate that it belongs to")
        return self


class TlsFilesError(Exception):
    """A file cannot be used. ``key`` is the one of the configuration that names it; the text names both."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class _EncryptedError(Exception):
    """A key asks for its passphrase."""


class TlsFiles:
    """The files of one client. Not for several threads at once."""

    def __init__(self, ca_file: Path | None, cert_file: Path | None = None, key_file: Path | None = None) -> None:
        self.ca_file = ca_file
        self.cert_file = cert_file
        self.key_file = key_file
        self._context: ssl.SSLContext | None = None
        self._stamp: Stamp | None = None

    @classmethod
    def of(cls, settings: ClientTls) -> TlsFiles:
        return cls(settings.ca_file, settings.client_cert_file, settings.client_key_file)

    @property
    def authorities(self) -> tuple[str, Path] | None:
        """What names the bundle that servers are checked against, and that; None for the public authorities."""
        return ("ca_file", self.ca_file) if self.ca_file else _bundle(os.environ)

    def stamp(self) -> Stamp:
        """Differs once any of the files changed."""
        named = self.authorities
        return tuple(map(_stamp_of, (named[1] if named else None, self.cert_file, self.key_file)))

    def context(self) -> ssl.SSLContext:
        """For connections that are made now; the same object as long as no file changes. Raises TlsFilesError."""
        stamp = self.stamp()
        if self._context is None or stamp != self._stamp:
            context = self.trusting()
            if self.cert_file is not None:
                _load_pair(context, self.cert_file, self.key_file)
            self._context, self._stamp = context, stamp
        return self._context

    def trusting(self) -> ssl.SSLContext:
        """Trusts whom we trust, and shows no certificate. Raises TlsFilesError."""
        named = self.authorities
        if named is None:
            from requests.utils import DEFAULT_CA_BUNDLE_PATH  # noqa: PLC0415 - takes a tenth of a second

            return ssl.create_default_context(cafile=DEFAULT_CA_BUNDLE_PATH)
        key, path = named
        try:
            if path.is_dir() and key != "ca_file":
                return ssl.create_default_context(capath=path)
            return ssl.create_default_context(cafile=path)
        except ssl.SSLError:
            raise TlsFilesError(key, f"{key} {path} holds no PEM certificate") from None
        except (OSError, ValueError) as error:
            raise TlsFilesError(key, _unreadable(key, path, error)) from None

    def pem(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Authorities, certificate chain and key, for who has no use for a context. Raises TlsFilesError."""
        self.context()  # which says what is wrong better than anybody else
        named = self.authorities
        roots = _read(named[0], named[1]) if named else None
        if self.cert_file is None:
            return roots, None, None
        chain = _read("client_cert_file", self.cert_file)
        return roots, chain, _read("client_key_file", self.key_file) if self.key_file else chain


def _bundle(environ: Mapping[str, str]) -> tuple[str, Path] | None:
    return next(((name, Path(value)) for name in BUNDLE_VARIABLES if (value := environ.get(name))), None)


def _stamp_of(path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _load_pair(context: ssl.SSLContext, cert_file: Path, key_file: Path | None) -> None:
    if b"CERTIFICATE-----" not in (held := _read("client_cert_file", cert_file)):
        raise TlsFilesError("client_cert_file", f"client_cert_file {cert_file} holds no PEM certificate")
    if key_file is None and b"PRIVATE KEY-----" not in held:
        text = f"client_cert_file {cert_file} holds no private key: add it there, or name its file in client_key_file"
        raise TlsFilesError("client_cert_file", text)
    if key_file is not None and b"PRIVATE KEY-----" not in _read("client_key_file", key_file):
        raise TlsFilesError("client_key_file", f"client_key_file {key_file} holds no PEM private key")
    key, path = ("client_key_file", key_file) if key_file else ("client_cert_file", cert_file)
    both = f"client_cert_file {cert_file}" + (f" and client_key_file {key_file}" if key_file else "")
    try:
        context.load_cert_chain(cert_file, key_file, password=_refuse)
    except _EncryptedError:
        text = f"the key in {key} {path} is encrypted: give it without a passphrase, readable by us only"
        raise TlsFilesError(key, text) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsFilesError(key, f"{both}: the key is not that of the certificate") from None
        text = f"{both}: not a PEM certificate chain and its unencrypted key"
        raise TlsFilesError(key, text) from None
    except (OSError, ValueError) as error:
        raise TlsFilesError(key, f"cannot read {both}: {_reason(error)}") from None


def _refuse() -> str:
    """Instead of OpenSSL's question on the terminal."""
    raise _EncryptedError


def _read(key: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        raise TlsFilesError(key, _unreadable(key, path, error)) from None
    if len(data) > _LARGEST:
        raise TlsFilesError(key, f"{key} {path} is larger than {_LARGEST} bytes")
    return data


def _unreadable(key: str, path: Path, error: Exception) -> str:
    if is_shown_file(path):
        return f"cannot read {key} {path}: {_reason(error)}"
    return f"cannot read the file that {key} names: {_reason(error)}; write its path there, not what is in it"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or "no such path"
