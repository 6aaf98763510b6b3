"""The programs that tests start have nothing in common with those of other tests, of today or of yesterday."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import requests

from tests.parts import programs
from tests.parts.programs import free_port
from tests.parts.pushgateway import pushgateway


def test_a_gateway_starts_empty_although_one_ran_before(tmp_path: Path) -> None:
    with pushgateway(tmp_path) as before:
        requests.put(f"{before.url}/metrics/job/earlier", data=b"left_over 1\n", timeout=10).raise_for_status()
        assert before.groups() == [{"job": "earlier"}]
    with pushgateway(tmp_path) as after:
        assert after.groups() == []


def test_two_processes_never_choose_the_same_port() -> None:
    mine = free_port()
    code = (
        "from tests.parts import programs\n"
        f"programs._PORTS = range({mine}, {mine} + 2)\n"
        "try: print(programs.free_port())\n"
        "except BaseException as error: print(error)"
    )
    root = Path(programs.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() != str(mine)
