"""Credentials as every block of the configuration has them."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from mlflow_monitoring_exporter.config.section import Section


class BasicAuth(Section):
    """User and password, which go together."""

    username: str | None = Field(None, description="basic authentication")
    password: SecretStr | None = None
    password_file: Path | None = None

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if bool(self.username) != bool(self.secret("password")):
            raise ValueError("username and password (or password_file) go together")
        return self


class BasicOrTokenAuth(BasicAuth):
    """User and password, or a bearer token."""

    token: SecretStr | None = Field(None, description="bearer token, instead of username and password")
    token_file: Path | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.username is not None and self.secret("token"):
            raise ValueError("give either token or username and password, not both")
        return self
