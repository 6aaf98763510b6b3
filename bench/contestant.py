"""``python -m bench.contestant module:function argument...``: does the work once, and says what it took.

Imports are made before the clock starts. A contestant that must prepare something answers with the
time that it took itself.
"""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from bench.contest import Timed


def main() -> None:
    module, _, function = sys.argv[1].partition(":")
    work = getattr(import_module(module), function)
    wall, cpu = time.perf_counter(), time.process_time()
    amount = work(*sys.argv[2:])
    timed = amount if isinstance(amount, Timed) else None
    timed = timed or Timed(amount, time.perf_counter() - wall, time.process_time() - cpu)
    # Not getrusage: its peak is inherited from the process that started us.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    print(json.dumps({**asdict(timed), "peak": int(peak[1]) / 1024}))


if __name__ == "__main__":
    main()
