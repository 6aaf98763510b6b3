"""Truth that comes late: predictions that are kept, joined with what they should have been, by the window of the
prediction.

In an SQLite database that the leader alone writes, out of the way of every request. Journals are read from where the
last transaction ended, so each line counts once, also after a leader died.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mlflow_monitoring_tracking.production.families import Served
from mlflow_monitoring_tracking.production.journal import is_kept, journals, lines
from mlflow_monitoring_tracking.production.quality import compared, of_confusion
from mlflow_monitoring_tracking.production.truth_schema import SCHEMA
from mlflow_monitoring_tracking.spool.locks import is_held

#: Days for which a truth may come, and predictions that are kept at most, the newest ones.
LABEL_WINDOW_MS = 7 * 86_400_000
_MOST = 1_000_000
#: Milliseconds for which truth waits for its prediction, which another process may not have written yet.
_EARLY_MS = 120_000
#: Milliseconds of predictions whose quality is shown.
_SHOWN_MS = 86_400_000
#: Labels of a window that are told apart in its confusion matrix; beyond, they count as one.
_LABELS = 50


class Corrected(NamedTuple):
    """A window whose truth is more than was told of it; ``revision`` is 0 the first time."""

    served: Served
    end_ms: int
    revision: int
    values: dict[str, float]


class TruthStore:
    """The leader's, of all deployments.

    :raises sqlite3.Error: the database cannot be opened.
    """

    def __init__(self, path: Path, window_ms: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._window_ms = window_ms
        self._database = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.executescript(SCHEMA)

    def close(self) -> None:
        """Another one leads."""
        self._database.close()

    def read(self, directory: Path, now_ms: int) -> None:
        """Take in what processes wrote since the last time; files of dead ones are removed once they are read.

        :raises sqlite3.Error: it cannot be kept; nothing is read then.
        """
        known = journals(directory)
        for path in known:
            over = not is_held(path)  # before it is read, or its last lines could be missed
            with self._transaction():
                self._read(path, now_ms)
            if over:
                path.unlink(missing_ok=True)
        with self._transaction():
            names = [path.name for path in known if path.exists()]
            holes = ",".join("?" * len(names))
            self._database.execute(f"DELETE FROM journals WHERE name NOT IN ({holes})", names)  # noqa: S608 - only ?
            self._forget(now_ms)

    def _read(self, path: Path, now_ms: int) -> None:
        row = self._database.execute(
            "SELECT offset, served, keep FROM journals WHERE name = ?", (path.name,)
        ).fetchone()
        offset, served, keep = row or (0, None, 1.0)
        for ends, said in lines(path, offset):
            offset = ends
            match said:
                case ["d", str(deployment), str(model), str(version), float() | int() as share]:
                    served, keep = json.dumps([deployment, model, version]), float(share)
                    self._database.execute("INSERT OR REPLACE INTO shares VALUES (?, ?)", (deployment, keep))
                case ["p", str(prediction_id), int(at_ms), prediction] if served is not None:
                    self._predicted(served, prediction_id, at_ms, json.dumps(prediction), now_ms)
                case ["t", str(deployment), str(prediction_id), int(at_ms), actual]:
                    self._told(deployment, prediction_id, at_ms, json.dumps(actual), now_ms)
                case ["x", str(deployment), int(), dict(numbers), _]:
                    self._traded(deployment, numbers)
        given = (path.name, offset, served, keep)
        self._database.execute("INSERT OR REPLACE INTO journals VALUES (?, ?, ?, ?)", given)

    def _predicted(self, served: str, prediction_id: str, at_ms: int, prediction: str, now_ms: int) -> None:
        deployment = json.loads(served)[0]
        added = self._database.execute(
            "INSERT OR IGNORE INTO predictions VALUES (?, ?, ?, ?, ?, 0)",
            (deployment, prediction_id, served, at_ms, prediction),
        )
        if added.rowcount:
            early = self._database.execute(
                "DELETE FROM early WHERE deployment = ? AND id = ? RETURNING at_ms, actual", (deployment, prediction_id)
            ).fetchone()
            if early is not None:
                told_ms, actual = early
                self._told(deployment, prediction_id, told_ms, actual, now_ms)

    def _told(self, deployment: str, prediction_id: str, at_ms: int, actual: str, now_ms: int) -> None:
        found = self._database.execute(
            "SELECT served, at_ms, prediction, joined FROM predictions WHERE deployment = ? AND id = ?",
            (deployment, prediction_id),
        ).fetchone()
        if found is None:
            self._not_found(deployment, prediction_id, at_ms, actual, now_ms)
            return
        served, predicted_ms, prediction, joined = found
        wrong = compared(json.loads(prediction), json.loads(actual))
        if joined:
            self._count(deployment, "repeated")
        elif wrong is not None and not math.isfinite(wrong):
            self._count(deployment, "invalid")
        elif at_ms - predicted_ms > LABEL_WINDOW_MS:
            self._count(deployment, "expired")
        else:
            self._database.execute(
                "UPDATE predictions SET joined = 1 WHERE deployment = ? AND id = ?", (deployment, prediction_id)
            )
            in_time = self._join(served, predicted_ms, wrong, (actual, prediction))
            self._count(deployment, "joined" if in_time else "late")

    def _not_found(self, deployment: str, prediction_id: str, at_ms: int, actual: str, now_ms: int) -> None:
        made_ms = _made_ms(prediction_id)
        share = self._database.execute("SELECT keep FROM shares WHERE deployment = ?", (deployment,)).fetchone()
        if share is not None and not is_kept(prediction_id, share[0]):
            self._count(deployment, "not_kept")
        elif made_ms is not None and at_ms - made_ms > LABEL_WINDOW_MS:
            self._count(deployment, "expired")
        elif now_ms - at_ms < _EARLY_MS:
            added = self._database.execute(
                "INSERT OR IGNORE INTO early VALUES (?, ?, ?, ?)", (deployment, prediction_id, at_ms, actual)
            )
            if not added.rowcount:
                self._count(deployment, "repeated")
        else:
            self._count(deployment, "unmatched")

    def _join(self, served: str, at_ms: int, wrong: float | None, labels: tuple[str, str]) -> bool:
        """Add it to the prediction's window; whether nothing was told of that window yet."""
        end_ms = (at_ms // self._window_ms + 1) * self._window_ms
        (told,) = self._database.execute(
            "INSERT INTO windows (served, end_ms, labels, numbers, absolute, squared, dirty)"
            " VALUES (?, ?, 1, ?, ?, ?, 1)"
            " ON CONFLICT DO UPDATE SET labels = labels + 1, numbers = numbers + excluded.numbers, dirty = 1,"
            " absolute = absolute + excluded.absolute, squared = squared + excluded.squared RETURNING revision",
            (served, end_ms, int(wrong is not None), abs(wrong or 0.0), (wrong or 0.0) ** 2),
        ).fetchone()
        if wrong is None:
            if self._labels(served, end_ms) >= _LABELS * _LABELS:
                labels = ("other", "other" if labels[0] == labels[1] else "another")
            self._database.execute(
                "INSERT INTO confusion VALUES (?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET number = number + 1",
                (served, end_ms, *labels),
            )
        return not told

    def _labels(self, served: str, end_ms: int) -> int:
        row = self._database.execute(
            "SELECT count(*) FROM confusion WHERE served = ? AND end_ms = ?", (served, end_ms)
        ).fetchone()
        return int(row[0])

    def _traded(self, deployment: str, numbers: Mapping[str, Any]) -> None:
        pnl, size = (_number(numbers.get(name)) for name in ("pnl", "position_size"))
        row = self._database.execute("SELECT * FROM trades WHERE deployment = ?", (deployment,)).fetchone()
        _, wins, losses, flat, total, peak, drawdown, exposure = row or (deployment, 0, 0, 0, 0.0, 0.0, 0.0, 0.0)
        total += pnl
        peak = max(peak, total)
        counts = wins + (pnl > 0), losses + (pnl < 0), flat + (pnl == 0)
        given = (deployment, *counts, total, peak, max(drawdown, peak - total), exposure + abs(size))
        self._database.execute("INSERT OR REPLACE INTO trades VALUES (?, ?, ?, ?, ?, ?, ?, ?)", given)

    def _count(self, deployment: str, result: str) -> None:
        self._database.execute(
            "INSERT INTO results VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET number = number + 1", (deployment, result)
        )

    def _forget(self, now_ms: int) -> None:
        """What nothing can be joined with any more; truth whose prediction did not come is unmatched."""
        gone = self._database.execute(
            "DELETE FROM early WHERE at_ms < ? RETURNING deployment", (now_ms - _EARLY_MS,)
        ).fetchall()
        for (deployment,) in gone:
            self._count(deployment, "unmatched")
        self._database.execute("DELETE FROM predictions WHERE at_ms < ?", (now_ms - LABEL_WINDOW_MS,))
        (number,) = self._database.execute("SELECT count(*) FROM predictions").fetchone()
        if number > _MOST:
            self._database.execute(
                "DELETE FROM predictions WHERE at_ms <="
                " (SELECT at_ms FROM predictions ORDER BY at_ms LIMIT 1 OFFSET ?)",
                (number - _MOST - 1,),
            )
        old = (now_ms - LABEL_WINDOW_MS - self._window_ms,)
        self._database.execute("DELETE FROM windows WHERE end_ms < ? AND dirty = 0", old)
        self._database.execute("DELETE FROM confusion WHERE end_ms < ?", old)

    def corrected(self, until_ms: int) -> list[Corrected]:
        """Windows that ended by then whose truth was not told as it is now; tell :meth:`told` once it was."""
        rows = self._database.execute(
            "SELECT served, end_ms, revision FROM windows WHERE dirty = 1 AND end_ms <= ? ORDER BY end_ms", (until_ms,)
        ).fetchall()
        return [
            Corrected(Served(*json.loads(served)), end_ms, revision, self.quality(served, end_ms, end_ms))
            for served, end_ms, revision in rows
        ]

    def told(self, windows: Sequence[Corrected]) -> None:
        """These are where they belong."""
        with self._transaction():
            self._database.executemany(
                "UPDATE windows SET dirty = 0, revision = revision + 1 WHERE served = ? AND end_ms = ?",
                [(json.dumps(list(window.served)), window.end_ms) for window in windows],
            )

    def quality(self, served: str, from_ms: int, until_ms: int) -> dict[str, float]:
        """Accuracy, precision, recall and F1 (means over classes), MAE and RMSE of the windows that ended then."""
        between = (served, from_ms, until_ms)
        labels, numbers, absolute, squared = self._database.execute(
            "SELECT sum(labels), sum(numbers), sum(absolute), sum(squared) FROM windows"
            " WHERE served = ? AND end_ms BETWEEN ? AND ?",
            between,
        ).fetchone()
        if not labels:
            return {}
        values: dict[str, float] = {"labels": labels}
        if numbers:
            values |= {"mae": absolute / numbers, "rmse": math.sqrt(squared / numbers)}
        rows = self._database.execute(
            "SELECT actual, predicted, sum(number) FROM confusion WHERE served = ? AND end_ms BETWEEN ? AND ?"
            " GROUP BY actual, predicted",
            between,
        ).fetchall()
        return values | of_confusion({(actual, predicted): number for actual, predicted, number in rows})

    def state(self, now_ms: int) -> dict[str, Any]:
        """What is shown: quality of the predictions of the last 24 hours, results of truth, trades; for JSON."""
        served = [said for (said,) in self._database.execute("SELECT DISTINCT served FROM windows ORDER BY served")]
        until_ms = now_ms + self._window_ms  # with the window that is open
        quality = [(json.loads(said), self.quality(said, now_ms - _SHOWN_MS, until_ms)) for said in served]
        return {
            "quality": [[said, values] for said, values in quality if values],
            "results": self._database.execute(
                "SELECT deployment, result, number FROM results ORDER BY 1, 2"
            ).fetchall(),
            "trades": self._database.execute(
                "SELECT deployment, wins, losses, flat, pnl, drawdown, exposure FROM trades ORDER BY 1"
            ).fetchall(),
        }

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")


def _made_ms(prediction_id: str) -> int | None:
    """When an id of ours was made."""
    parts = prediction_id.split("-")
    try:
        return int(parts[1], 16) if len(parts) == 3 else None
    except ValueError:
        return None


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else 0.0
