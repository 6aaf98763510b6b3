"""A sink that takes exactly what docs/pramathus.openapi.yaml says, and remembers what it took.

::

    with strict_peer() as peer:
        ...                                  # send to peer.url with peer.token
        peer.accept_all_or_fail()
        peer.samples                         # without duplicates of a batch, in order
    peer.trouble = answer(500)               # or hang(), redirect(...): until it is None again
    peer.trouble_with_batches = hang()       # a check still finds it well
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.parts.bad_server import Behaviour, Received, answer, bad_server

CONTRACT = Path(__file__).parents[2] / "docs" / "pramathus.openapi.yaml"
TOKEN = "a-key-that-nobody-may-see"


def _validator(contract: dict[str, Any]) -> Draft202012Validator:
    resource: Resource[Any] = DRAFT202012.create_resource(contract)
    registry: Registry[Any] = Registry().with_resource("urn:contract", resource)
    return Draft202012Validator(
        {"$ref": "urn:contract#/components/schemas/Batch"},
        registry=registry,
        format_checker=Draft202012Validator.FORMAT_CHECKER,
    )


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key occurs twice")
    return dict(pairs)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


class StrictPeer:
    """``batches`` maps each idempotency key to the body that came with it; ``repeats`` counts others."""

    def __init__(self, url: str, requests: list[Received]) -> None:
        self.url = f"{url}/api/v1/metrics"
        self.requests = requests
        self.token = TOKEN
        self.trouble: Behaviour | None = None
        self.trouble_with_batches: Behaviour | None = None
        self.batches: dict[str, dict[str, Any]] = {}
        self.repeats = 0
        self.violations: list[str] = []
        self._lock = threading.Lock()
        self._validator = _validator(yaml.safe_load(CONTRACT.read_text()))

    @property
    def samples(self) -> list[dict[str, Any]]:
        """Every sample of every batch, in the order of arrival."""
        with self._lock:
            return [sample for batch in self.batches.values() for sample in batch["metrics"]]

    def judge(self, request: Received) -> Behaviour:
        """The answer that the contract gives to ``request``."""
        if self.trouble is not None:
            return self.trouble
        if request.method == "OPTIONS":
            return answer(204)
        if self.trouble_with_batches is not None:
            return self.trouble_with_batches
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return answer(401)
        reason = self._violation(request)
        with self._lock:
            if reason is None:
                return answer(200)
            self.violations.append(reason)
        return answer(400, body=reason.encode())

    def accept_all_or_fail(self) -> None:
        assert self.violations == []

    def _violation(self, request: Received) -> str | None:
        key = request.headers.get("idempotency-key", "")
        kind = request.headers.get("content-type")
        reason = None
        if (request.method, request.path) != ("POST", "/api/v1/metrics"):
            reason = f"{request.method} {request.path} is not part of the contract"
        elif kind != "application/json":
            reason = f"content type {kind}"
        elif re.fullmatch("[0-9a-f]{32}", key) is None:
            reason = f"idempotency key {key!r}"
        return reason or self._take(key, request.body)

    def _take(self, key: str, content: bytes) -> str | None:
        try:
            body = json.loads(content, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
            self._validator.validate(body)
        except (ValueError, ValidationError) as error:
            return f"{getattr(error, 'json_path', 'not JSON')}: {error}"
        with self._lock:
            known = self.batches.setdefault(key, body)
            self.repeats += known is not body
        return None if known == body else "another body under the same idempotency key"


@contextmanager
def strict_peer() -> Iterator[StrictPeer]:
    """A strict sink on a free port of 127.0.0.1."""
    with bad_server() as server:
        peer = StrictPeer(server.url, server.requests)
        server.judge = peer.judge
        yield peer
