"""Short versions by default; the long ones with RELIABILITY=long (`make test-reliability`)."""

from __future__ import annotations

import os


def scaled(short: int, long: int) -> int:
    """How often something is tried."""
    return long if os.environ.get("RELIABILITY") == "long" else short
