"""The value types of config.yaml: durations, sizes, lists, URLs, patterns."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from importlib.util import find_spec
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

#: Ours, those of Prometheus and the Pushgateway, and those with a meaning in its text format.
TAKEN_LABELS = frozenset(
    (
        *("experiment_id", "experiment_name", "run_id", "run_uuid", "run_name", "parent_run_id"),
        *("model_stage", "status", "metric", "job", "instance", "le", "quantile"),
    )
)

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SIZE_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
#: A century: what is longer is a mistake, and too long for the system's timers.
_LONGEST = 100 * 365 * 86400.0
#: Characters of a duration in units; longer ones take quadratic time.
_LONGEST_TEXT = 100
#: Characters of a pattern. No name in MLflow is longer, and longer patterns take quadratic time.
_LONGEST_PATTERN = 500
#: What an error may repeat of a value that is not as it should be: a number with a unit, or a word. Anything longer
#: may be a secret that came to the wrong place.
_REPEATABLE = re.compile(r"-?(\d{1,6}(\.\d{1,6})?)?\s?[A-Za-z]{0,8}(%|[/_]?\*)?")


def repeated(value: str) -> str:
    """``'soon' `` for an error text, if it may stand there; else nothing."""
    return f"{value!r} " if value and _REPEATABLE.fullmatch(value) else ""


def parse_duration(value: Any) -> Any:
    """Seconds from ``60``, ``"60"``, ``"60s"``, ``"1h30m"`` or ``"500ms"``.

    Raises ValueError for anything else that is text; other types are left to pydantic.
    """
    if isinstance(value, bool):
        raise ValueError("is not a duration: write 60s, 5m or 1h30m")  # noqa: TRY004 - pydantic reports ValueError
    if not isinstance(value, str):
        return value
    text = value.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not text or len(text) > _LONGEST_TEXT or _DURATION.sub("", text):
        raise ValueError(f"{repeated(value)}is not a duration: write 60s, 5m or 1h30m")
    return sum(float(number) * _DURATION_UNITS[unit] for number, unit in _DURATION.findall(text))


def check_duration(value: float) -> float:
    """One that timers can bear. Raises ValueError."""
    if value > _LONGEST:
        raise ValueError("is longer than a hundred years")
    return value


def parse_size(value: Any) -> Any:
    """Bytes from ``1048576``, ``"10MB"`` (powers of 1000) or ``"1GiB"`` (powers of 1024)."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None or match[2].upper() not in _SIZE_UNITS:
        raise ValueError(f"{repeated(value)}is not a size: write 10MB or 1GiB")
    size = float(match[1]) * _SIZE_UNITS[match[2].upper()]
    if not math.isfinite(size):
        raise ValueError("is too large a size")
    return int(size)


def check_since(value: Any) -> Any:
    """``all``, ``now``, a duration, or a date or time in ISO 8601 (UTC unless it says otherwise)."""
    text = value.isoformat() if isinstance(value, date) else str(value).strip()
    since_ms(text, 0)
    return text


def since_ms(since: str, now_ms: int) -> int | None:
    """The moment that ``since`` means when it is ``now_ms``, in milliseconds; None for all of the past."""
    if since in ("all", "now"):
        return None if since == "all" else now_ms
    with suppress(ValueError):
        seconds = parse_duration(since)
        return now_ms - int(check_duration(seconds) * 1000)
    try:
        moment = datetime.fromisoformat(since)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise ValueError(f"{repeated(since)}is none of all, now, a duration (30d) or a date (2026-01-31)") from None


def split_commas(value: Any) -> Any:
    """Environment variables and flags carry lists as ``a,b,c``."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def check_words(value: tuple[str, ...]) -> tuple[str, ...]:
    """Patterns that can be matched in little time."""
    if any(len(word) > _LONGEST_PATTERN for word in value):
        raise ValueError(f"holds a pattern that is too long: more than {_LONGEST_PATTERN} characters")
    return value


def check_family(value: str) -> str:
    """What may follow ``mlflow_`` in the name of a family; ``*`` stands for something that is filled in."""
    if not re.fullmatch(r"[a-zA-Z0-9_*]+", value):
        raise ValueError(f"{repeated(value)}is not a name: letters, digits and _, without the leading mlflow_")
    return value


def check_rename(value: Mapping[str, str]) -> Mapping[str, str]:
    """Patterns and what they become; each ``*`` there stands for what the pattern's ``*`` of its place matched."""
    for pattern, name in value.items():
        if name.count("*") > pattern.count("*"):
            than = repeated(pattern) or "its pattern"
            raise ValueError(f"{repeated(name)}has more * than {than.strip()}, so nothing can stand for them")
    return value


def check_label(value: str) -> str:
    """A label that Prometheus accepts, and that means nothing else here."""
    if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", value) or value.startswith("__"):
        raise ValueError(f"{repeated(value)}is not a label: letters, digits and _, not at the start a digit or __")
    if value in TAKEN_LABELS:
        raise ValueError(f"{value!r} is a label already")
    return value


def check_origin(value: str) -> str:
    """``tag.<name>`` or ``param.<name>``."""
    kind, _, name = value.partition(".")
    if kind not in ("tag", "param") or not name:
        raise ValueError(f"{repeated(value)}is neither tag.<name> nor param.<name>")
    return value


def scheme_of(value: str) -> str:
    """The scheme of a URL, in lower case; empty for a plain path."""
    try:
        return urlsplit(value).scheme
    except ValueError:  # whose text repeats what may be a password
        raise ValueError("is not a URL") from None


def check_http_url(value: str) -> str:
    """An absolute http(s) URL with a host; a trailing slash is dropped."""
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:  # whose text repeats what may be a password
        raise ValueError("is not a URL: write scheme://host:port/path, a port as a number") from None
    if any(c.isspace() or not c.isprintable() for c in value):
        raise ValueError("must not hold spaces or control characters")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http:// or https:// URL with a host")
    if parts.query or parts.fragment:
        raise ValueError("must not have a query or a fragment")
    return value.rstrip("/")


#: Databases that MLflow keeps its store in, and the driver for each; an extra of that name brings it.
DATABASE_DRIVERS = {"postgresql": "psycopg", "mysql": "pymysql"}


def check_database_url(value: str) -> str:
    """``postgresql://host/database`` or ``mysql://...``, of whose kind a driver is installed."""
    import sqlalchemy as sa  # noqa: PLC0415 - takes half a second, and most configurations have no such URL

    try:
        url = sa.make_url(value)
    except (sa.exc.ArgumentError, ValueError):
        raise ValueError("is not the URL of a database: use postgresql://host:5432/database") from None
    kind = url.get_backend_name()
    if kind not in DATABASE_DRIVERS:
        raise ValueError("is not the URL of a database: use postgresql://host:5432/database, in lower case")
    if not url.host or not url.database:
        raise ValueError(f"must name a host and a database: {kind}://host/database")
    if find_spec(DATABASE_DRIVERS[kind]) is None:
        raise ValueError(f"needs the driver {DATABASE_DRIVERS[kind]}: pip install 'mlflow-monitoring-exporter[{kind}]'")
    return value


def check_listen(value: str) -> str:
    """``host:port``; an IPv6 host in brackets; port 0 lets the system choose one."""
    split_listen(value)
    return value


def split_listen(value: str) -> tuple[str, int]:
    """``"127.0.0.1:9797"`` as ``("127.0.0.1", 9797)``; raises ValueError."""
    host, colon, port = value.rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal()) or len(port) > 5 or int(port) > 65535:
        raise ValueError("must be host:port, for example 127.0.0.1:9797")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - ":9797" asks for every interface


_DURATION_TEXT = {"type": "string", "pattern": r"^\s*(\d+(\.\d+)?|(\d+(\.\d+)?(ms|s|m|h|d))+)\s*$"}

Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    Field(gt=0, allow_inf_nan=False),
    AfterValidator(check_duration),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, _DURATION_TEXT]}),
]
"""A positive length of time in seconds."""

DurationOrZero = Annotated[
    float,
    BeforeValidator(parse_duration),
    Field(ge=0, allow_inf_nan=False),
    AfterValidator(check_duration),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, _DURATION_TEXT]}),
]
"""A length of time in seconds; zero switches the thing off."""

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    Field(gt=0),
    WithJsonSchema({"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "string"}]}),
]
"""A positive number of bytes."""

Pattern = Annotated[str, Field(min_length=1)]
"""A shell-style pattern."""

FamilyName = Annotated[str, AfterValidator(check_family)]
"""The name of a metric family without its ``mlflow_``."""

LabelName = Annotated[str, AfterValidator(check_label)]
"""A Prometheus label of the operator's."""

LabelOrigin = Annotated[str, AfterValidator(check_origin)]
"""Where a label's value comes from."""

Words = Annotated[tuple[str, ...], BeforeValidator(split_commas), AfterValidator(check_words)]
"""A list of words; one comma-separated string is accepted too."""

Since = Annotated[str, BeforeValidator(check_since), WithJsonSchema({"type": "string"})]
"""How far back: ``all``, ``now``, a duration or a date."""


def parse_fraction(value: Any) -> Any:
    """``0.1`` from itself or from ``"10%"``."""
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            return float(value.strip().removesuffix("%")) / 100
        except ValueError:
            raise ValueError(f"{repeated(value)}is not a share: write 0.1 or 10%") from None
    return value


def check_key(value: str) -> str:
    """A metric key as MLflow takes it: letters, digits and ``_ - . space : /``."""
    if any(c in value for c in "*?["):
        raise ValueError(f"{repeated(value)}is a pattern; name one metric")
    if not re.fullmatch(r"[\w\-. :/]{1,250}", value):
        raise ValueError(f"{repeated(value)}is not the key of a metric in MLflow")
    return value


def check_alert_name(value: str) -> str:
    """What becomes the label ``alertname``, and stands in messages as it is."""
    if not re.fullmatch(r"\w([\w .-]*\w)?", value):
        raise ValueError(f"{repeated(value)}is not a name: letters, digits, _ and, not at its ends, - . or spaces")
    return value


HttpUrl = Annotated[str, AfterValidator(check_http_url)]
"""An http(s) URL, kept as written but for a trailing slash."""

Listen = Annotated[str, AfterValidator(check_listen)]
"""An address to listen on."""

Fraction = Annotated[
    float,
    BeforeValidator(parse_fraction),
    Field(gt=0, allow_inf_nan=False),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": r"^.*%\s*$"}]}),
]
"""A positive share: ``0.1`` or ``10%``."""

MetricKey = Annotated[str, AfterValidator(check_key)]
"""One metric, as it was logged."""
