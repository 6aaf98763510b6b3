"""The other side of an exporter, as the contract's tests need it."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from enum import Enum
from typing import Any, Protocol


class Fault(Enum):
    """What can be wrong with a platform."""

    UNAVAILABLE = "unavailable"
    """It cannot be reached, or says that it cannot take anything now."""
    UNAUTHORIZED = "unauthorized"
    """It refuses our credentials."""
    REFUSING = "refusing"
    """It says that it will never take this payload."""
    SILENT = "silent"
    """It takes the request, and never answers."""


class Platform(Protocol):
    """Something that an exporter can deliver to, here and now, without anything installed.

    ``secrets`` are those among the settings: none of them may appear anywhere.
    """

    secrets: Collection[str]

    def settings(self) -> Mapping[str, Any]:
        """The keys of the exporter's block, without ``type``, with which it reaches this platform.

        A key ``timeout``, if there is one, should be about a second.
        """
        ...

    def contacted(self) -> bool:
        """Whether anybody has come by so far."""
        ...

    def received(self) -> Collection[Hashable]:
        """What it holds, each sample or series as the platform itself tells it from others.

        What was delivered twice is there once: by its time series and time, or by the batch's id and its place.
        """
        ...

    def suffer(self, fault: Fault | None) -> None:
        """Have this fault from now on; None is none."""
        ...
