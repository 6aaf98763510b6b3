"""Keeps a few runs moving, so that dashboards have something to watch."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.core.clock import now_ms
from mlflow_monitoring_exporter.core.errors import SourceRefusedError, SourceResponseError, SourceUnavailableError
from mlflow_monitoring_exporter.core.values import Point, RunStatus
from mlflow_monitoring_exporter.sample.connection import connected, translated
from mlflow_monitoring_exporter.sample.recipes import CHURN, IMAGE, PRICE, RECOMMENDER, Recipe
from mlflow_monitoring_exporter.sample.scenario import tags_of
from mlflow_monitoring_exporter.sample.writer import experiment_id, log_points

if TYPE_CHECKING:
    from mlflow import MlflowClient

Tell = Callable[[str], None]
"""Hears one line for people."""

_AT_ONCE = 3
#: Steps of a live run: one or two minutes at the usual interval.
_STEPS = (12, 30)
#: Seconds that one request may take. It is also how long a hanging server can keep us from stopping.
_TIMEOUT = 5


def run_live(
    config: MlflowConfig,
    *,
    seed: int,
    stop: threading.Event,
    interval: float = 5.0,
    on_logged: Tell,
    on_trouble: Tell,
) -> None:
    """Until ``stop``, log a step of three runs in three experiments every ``interval`` seconds.

    A run that came to its end is FINISHED, now and then FAILED (and then often with a loss of
    NaN), and a run of another experiment takes its place; those that ``stop`` cuts off are KILLED.
    Once begun, no trouble ends it: ``on_trouble`` hears of it, and the next tick tries again.
    Raises SourceUnavailableError or SourceRefusedError when it cannot even begin. Returns within a
    second of ``stop``, or when the request under way has ended.
    """
    rng = Random(seed)
    with connected(config, retries=0, timeout=_TIMEOUT) as client:
        waiting = deque((CHURN, PRICE, IMAGE, RECOMMENDER))
        training = [_Training(client, waiting.popleft(), rng) for _ in range(_AT_ONCE)]
        while not stop.is_set():
            due = time.monotonic() + interval
            for at, one in enumerate(training):
                if stop.is_set() or not _step(config, one, on_logged, on_trouble):
                    break
                if one.over:
                    waiting.append(one.recipe)
                    training[at] = _Training(client, waiting.popleft(), rng)
            stop.wait(max(0.0, due - time.monotonic()))
        _end(config, [one for one in training if one.run_id], on_logged, on_trouble)


class _Training:
    """One live run. What was not taken is sent again, unchanged, by the next :meth:`step`."""

    def __init__(self, client: MlflowClient, recipe: Recipe, rng: Random) -> None:
        self.recipe = recipe
        self.run_id = ""
        self.over = False
        self._client = client
        self._steps = rng.randint(*_STEPS)
        self._draft = recipe.draw(rng, self._steps)
        self._status = RunStatus.FINISHED
        if rng.random() < 0.25:
            self._status = RunStatus.FAILED
            self._steps = rng.randint(self._steps // 2, self._steps)
            if rng.random() < 0.6:
                self._draft = self._draft.diverging(at=self._steps - 3)
        self._tags = tags_of(rng, recipe, self._status, data_version=20)
        self.name = f"{self._draft.params['model']}-live-{rng.randrange(0x10000):04x}"
        self._done = 0
        self._unsent: Sequence[Point] = ()

    def step(self) -> str:
        """Log the next step, or end the run after its last; the answer says which."""
        if not self.run_id:
            self._create()
        if self._done == self._steps:
            self._client.set_terminated(self.run_id, self._status.value)
            self.over = True
            return f"{self}: {self._status}"
        self._unsent = self._unsent or self._points()
        log_points(self._client, self.run_id, self._unsent, {} if self._done else self._draft.params)
        self._unsent = ()
        headline = self._draft.curves[self.recipe.headline][self._done]
        self._done += 1
        return f"{self}: step {self._done} of {self._steps}, {self.recipe.headline} {headline:g}"

    def kill(self) -> str:
        self._client.set_terminated(self.run_id, RunStatus.KILLED.value)
        return f"{self}: {RunStatus.KILLED}"

    def _create(self) -> None:
        experiment = experiment_id(self._client, self.recipe.experiment)
        run = self._client.create_run(experiment, tags=self._tags, run_name=self.name)
        self.run_id = str(run.info.run_id)

    def _points(self) -> Sequence[Point]:
        now = now_ms()
        values = {key: curve[self._done] for key, curve in self._draft.curves.items()}
        if self._done == self._steps - 1 and self._status is RunStatus.FINISHED:
            values |= self._draft.finals
        return [Point(key, self._done, now, value) for key, value in values.items()]

    def __str__(self) -> str:
        return f"{self.recipe.experiment}/{self.name}"


def _step(config: MlflowConfig, one: _Training, on_logged: Tell, on_trouble: Tell) -> bool:
    """Whether it is worth asking the server for more in this tick."""
    try:
        with translated(config):
            said = one.step()
    except SourceUnavailableError as error:
        on_trouble(str(error))
        return False
    except SourceRefusedError as error:
        on_trouble(str(error))
    except SourceResponseError as error:
        on_trouble(f"{one} is given up: {error}")
        one.over = True
    else:
        on_logged(said)
    return True


def _end(config: MlflowConfig, cut_off: list[_Training], on_logged: Tell, on_trouble: Tell) -> None:
    for at, one in enumerate(cut_off):
        try:
            with translated(config):
                said = one.kill()
        except SourceUnavailableError as error:
            on_trouble(f"{error}: {', '.join(map(str, cut_off[at:]))} stay RUNNING")
            return
        except (SourceRefusedError, SourceResponseError) as error:
            on_trouble(f"{one} stays RUNNING: {error}")
        else:
            on_logged(said)
