"""What lies in a queue: bytes that are sent together, whatever they mean."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b


@dataclass(frozen=True, slots=True)
class Payload:
    """Frozen bytes with ``items`` items in them, and since when they have been on their way, in ms.

    ``batch_id`` stays the same through every retry, restart, rejection and replay.
    """

    batch_id: str
    created_ms: int
    items: int
    content: bytes

    @classmethod
    def frozen(cls, content: bytes, *, items: int, created_ms: int) -> Payload:
        """With the id that belongs to this content and time."""
        return cls(batch_id(content, created_ms), created_ms, items, content)


@dataclass(frozen=True, slots=True)
class QueuedPayload:
    """The payload at the head of a queue, and its place there."""

    place: int
    payload: Payload


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a platform will never take some items: for people, and an HTTP status if there was one.

    ``first_ms`` is when they were first tried.
    """

    reason: str
    status: int | None
    first_ms: int


def batch_id(content: bytes, created_ms: int) -> str:
    """32 hexadecimal digits that depend on nothing but the frozen content and its time."""
    return blake2b(content, digest_size=16, salt=created_ms.to_bytes(8, "little")).hexdigest()
