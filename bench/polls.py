"""What does one poll cost: when nothing happened, when a little did, and when everything is new?

The tracking servers are real and have one worker. What stood before a poll is made from the
database, which is faster, and then given the server's address.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from bench.contest import Result, contest, report
from bench.polling import first_poll, readdress
from bench.store import Size, store
from bench.tails import KEYS, STEPS
from tests.parts.mlflow_server import MlflowServer

_RUNNING = 100


def main(directory: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Print the ratios; ``quick`` is a tenth of the work."""
    small, large = (1000, 10_000) if quick else (10_000, 100_000)
    return [
        _idle(directory, small, large, over_rest=True),
        _idle(directory, small, large, over_rest=False),
        *_many_experiments(directory, small),
        _start(directory, small, large),
        _tails(directory, small),
        _memory(directory, large),
    ]


def _idle(directory: Path, small: int, large: int, *, over_rest: bool) -> dict[str, Any]:
    with ExitStack() as stack:
        contenders = {}
        for runs in (small, large):
            path = store(directory, Size(runs))
            uri = f"sqlite:///{path.resolve()}"
            state = stood(directory, path)
            if over_rest:
                uri = stack.enter_context(MlflowServer(directory / f"server-{runs}", database=path)).url
                readdress(state, uri)
            contenders[f"{runs} runs"] = ("bench.polling:idle", uri, str(state))
        results = contest(contenders)
    where = "over REST" if over_rest else "from the database"
    title = f"a poll {where} when nothing happened, 10 runs open"
    return report(title, results, f"{small} runs", amount="requests" if over_rest else "polls")


def _many_experiments(directory: Path, runs: int) -> list[dict[str, Any]]:
    few, many = 10, runs
    reports = []
    for what, work in (("a poll", "idle"), ("a look at runs", "idle_looks")):
        contenders = {}
        for experiments in (few, many):
            path = store(directory, Size(runs, experiments=experiments))
            state = stood(directory, path)
            contenders[f"{experiments} experiments"] = (
                *(f"bench.polling:{work}", f"sqlite:///{path.resolve()}", str(state)),
            )
        title = f"{what} from the database when nothing happened, {runs} runs"
        reports.append(report(title, contest(contenders), f"{few} experiments", amount="polls"))
    return reports


def _start(directory: Path, small: int, large: int) -> dict[str, Any]:
    """Each has another amount: a table, and no contest of the same work."""
    results: dict[str, Result] = {}
    for runs in (small, large):
        path = store(directory, Size(runs))
        work = ("bench.polling:first_gauges", f"sqlite:///{path.resolve()}", str(stood(directory, path)))
        results |= contest({f"{runs} runs": work})
    title = "first gauges after a start whose state has seen all runs"
    return report(title, results, f"{small} runs", amount="series")


def _tails(directory: Path, runs: int) -> dict[str, Any]:
    path = store(directory, Size(runs, running=_RUNNING))
    live = Path(shutil.copy(path, directory / "tails.db")).resolve()
    state = stood(directory, path, queued=True)
    with MlflowServer(directory / "server-tails", database=live) as server:
        readdress(state, server.url)
        results = contest(
            {
                "the cheapest correct requests": ("bench.tails:bare_requests", server.url, str(live)),
                "this exporter": ("bench.tails:ours", server.url, str(live), str(state)),
            }
        )
    title = f"{STEPS} new points on each of {KEYS} keys of {_RUNNING} runs, over REST, {runs} runs in all"
    return report(title, results, "the cheapest correct requests", amount="points")


def _memory(directory: Path, runs: int) -> dict[str, Any]:
    path = store(directory, Size(runs))
    results = contest(
        {"export-once": ("bench.polling:export_once", f"sqlite:///{path.resolve()}", str(directory))}, rounds=1
    )
    return report(f"export-once to a file, {runs} runs x 20 metrics", results, "export-once", amount="samples")


def stood(directory: Path, path: Path, *, queued: bool = False) -> Path:
    """A state file that has read everything in a store, and queued it or believes that it has."""
    state = directory / f"state-{path.stem}.db"
    _remove(state)
    first_poll(f"sqlite:///{path.resolve()}", state, queue=queued)
    with closing(sqlite3.connect(state, isolation_level=None)) as connection:
        connection.execute("UPDATE series SET mask = 1, pending = 0")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return state


def _remove(state: Path) -> None:
    for path in state.parent.glob(f"{state.name}*"):
        path.unlink()
