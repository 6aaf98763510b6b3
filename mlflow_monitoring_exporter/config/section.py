"""What every block of config.yaml has in common: strictness, and secrets by value or by file."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from mlflow_monitoring_exporter.config.fields import Pattern, Words, check_rename
from mlflow_monitoring_exporter.core.disclosure import is_shown_file
from mlflow_monitoring_exporter.core.errors import ConfigError, ConfigProblem
from mlflow_monitoring_exporter.core.redaction import USERINFO

#: Bytes of a secret.
_LARGEST = 1 << 20
#: What SQLite, PostgreSQL and every counter here can hold.
_INTEGERS = range(-(2**63), 2**63)


class Secret:
    """A credential that is read when it is needed, so that a rotated file is picked up.

    Its text and repr never show the value.
    """

    def __init__(self, value: SecretStr | None = None, file: Path | None = None) -> None:
        self._value = value.get_secret_value() if value is not None else None
        self._file = file
        self._stamp: tuple[int, int, int] | None = None
        self._lock = threading.Lock()

    def get(self) -> str | None:
        """The current value; None when none is configured.

        A file is read again when its inode, size or time changed. While it cannot be read the
        last good value stays in use; with none yet, raises ConfigError.
        """
        if self._file is None:
            return self._value
        with self._lock:
            try:
                stat = self._file.stat()
                stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
                if stamp != self._stamp:
                    self._value = _read(self._file)
                    self._stamp = stamp
            except (OSError, ValueError) as error:
                if self._value is None:
                    reason = getattr(error, "strerror", None) or str(error)
                    raise ConfigError([_unreadable(self._file, reason)]) from error
            return self._value

    def __bool__(self) -> bool:
        return self._file is not None or self._value is not None

    def __repr__(self) -> str:
        return "Secret(**********)" if self else "Secret(None)"


def _unreadable(file: Path, reason: str) -> ConfigProblem:
    """A secret may have come to where the name of its file belongs."""
    if is_shown_file(file):
        return ConfigProblem(str(file), "", f"cannot read this secret file: {reason}")
    text = f"cannot read the file that is named here: {reason}; if it is the secret itself, write it without _file"
    return ConfigProblem("", "", text)


def _read(file: Path) -> str:
    """A secret's text. Raises OSError, and ValueError when it is not one."""
    with file.open("rb") as opened:
        data = opened.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError(f"is larger than {_LARGEST} bytes")
    try:
        return data.decode().strip()
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None


class Section(BaseModel):
    """A block of the configuration: frozen, unknown keys refused.

    A field of type ``SecretStr`` has a twin ``<name>_file``; giving both is refused, and
    :meth:`secret` reads whichever was given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @field_validator("*")
    @classmethod
    def _can_be_used(cls, value: Any) -> Any:
        """Values that are of the right type, and still trouble whoever uses them."""
        if isinstance(value, int) and value not in _INTEGERS:
            raise ValueError("is too large")
        if isinstance(value, str | Path) and "\0" in str(value):
            raise ValueError("must not hold the character NUL")
        return value

    @classmethod
    def secret_fields(cls) -> Iterator[str]:
        """The names of the fields that hold secrets (without their ``_file`` twins)."""
        for name in cls.model_fields:
            if name.endswith("_file") and name.removesuffix("_file") in cls.model_fields:
                yield name.removesuffix("_file")

    def secret(self, name: str) -> Secret:
        """The secret of field ``name``, by value or by file."""
        return Secret(getattr(self, name), getattr(self, f"{name}_file"))

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Without users and passwords of addresses."""
        for name, value in super().__repr_args__():
            yield name, USERINFO.sub("", value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_form_of_each_secret(self) -> Self:
        for name in self.secret_fields():
            if getattr(self, name) is not None and getattr(self, f"{name}_file") is not None:
                raise ValueError(f"give either {name} or {name}_file, not both")
        return self


class PatternFilter(Section):
    """Shell-style patterns (``*``, ``?``, ``[a-z]``), matched against whole names, case included."""

    include: Words = ("*",)
    exclude: Words = ()


class SelectConfig(Section):
    """What of everything that is exported this one gets."""

    experiments: PatternFilter = PatternFilter()
    metrics: PatternFilter = PatternFilter()


class SampleConfig(Section):
    """How the history of a series is thinned out. Values that are not finite always stay."""

    every: int | None = Field(None, ge=2, description="points whose step is a multiple, and the last that is read")
    lttb: int | None = Field(None, ge=3, description="about so many of each reading, those that keep its shape best")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.every is not None and self.lttb is not None:
            raise ValueError("give either every or lttb, not both")
        return self


class ExporterConfig(Section):
    """What every exporter's block accepts; plugins extend it."""

    type: str
    enabled: bool = True
    select: SelectConfig = SelectConfig()


class BatchExporterConfig(ExporterConfig):
    """What every EVERY exporter's block accepts."""

    batch_size: int = Field(500, ge=1, le=10_000, description="samples in one batch at most")
    rename: Annotated[Mapping[Pattern, str], AfterValidator(check_rename)] = Field(
        {}, description="pattern of keys: what they are called here"
    )
    sample: SampleConfig = SampleConfig()
