"""What answers is MLflow, or it is refused: another service must not pass for an MLflow that holds nothing."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.core.errors import SourceRefusedError
from mlflow_monitoring_exporter.source.rest.reader import RestSource
from tests.parts.bad_server import Behaviour, Received, answer, bad_server
from tests.parts.mlflow_server import MlflowServer

HINT = "is mlflow.tracking_uri the address of an MLflow server?"


def reply(body: object, status: int = 200) -> Behaviour:
    return answer(status, {"Content-Type": "application/json"}, json.dumps(body).encode())


ELASTICSEARCH = {"took": 1, "timed_out": False, "_shards": {"total": 0}, "hits": {"total": {"value": 0}, "hits": []}}
IMPOSTORS: dict[str, Callable[[Received], Behaviour]] = {
    "an object without anything": lambda _: reply({}),
    "a list": lambda _: reply([]),
    "a health page": lambda _: reply({"status": "ok"}),
    "an echo": lambda request: answer(200, {"Content-Type": "application/json"}, request.body or b"{}"),
    "an echo with its request inside": lambda request: reply({"method": request.method, "data": request.body.decode()}),
    "a search engine": lambda _: reply(ELASTICSEARCH),
    "a search engine that refuses": lambda _: reply({"error": "no handler found for uri", "status": 400}, 400),
    "a gateway": lambda _: reply({"message": "Welcome to the API"}),
    "a gateway that refuses everything": lambda _: reply({"message": "no Route matched with those values"}, 404),
    "a gateway with errors of its own": lambda _: reply({"error_code": "GW-404", "message": "no route"}, 400),
    "empty experiments": lambda _: reply({"experiments": []}),
    "nothing but null": lambda _: reply({"experiments": None}),
    "experiments of another kind": lambda _: reply({"experiments": [{"id": 7, "variants": ["a", "b"]}]}),
    "a single page application": lambda _: answer(200, {"Content-Type": "text/html"}, b"<!doctype html><div id=root>"),
}


@contextmanager
def opened(url: str) -> Iterator[RestSource]:
    with closing(RestSource(MlflowConfig(tracking_uri=url), stop=threading.Event())) as source:
        yield source


@pytest.mark.parametrize("name", IMPOSTORS)
def test_a_service_that_is_not_mlflow_is_refused_by_the_check_and_by_every_poll(name: str) -> None:
    with bad_server() as server:
        server.judge = IMPOSTORS[name]
        with opened(server.url) as source:
            for attempt in (source.check, source.experiments, source.experiments):
                with pytest.raises(SourceRefusedError) as caught:
                    attempt()
                message = str(caught.value)
                assert message.startswith(server.url)
                assert HINT in message or "HTTP 400" in message
                assert message.isprintable()


def test_a_file_server_is_refused(tmp_path: Path) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with opened(f"http://127.0.0.1:{server.server_address[1]}") as source, pytest.raises(SourceRefusedError):
            source.experiments()
        server.shutdown()


def mlflow_without_experiments(request: Received) -> Behaviour:
    """As a real one: a request that cannot be met is refused in MLflow's words, an empty list is left out."""
    if b'"max_results":-1' in request.body:
        return reply({"error_code": "INVALID_PARAMETER_VALUE", "message": "Invalid value -1"}, 400)
    return reply({})


def test_an_mlflow_without_experiments_is_recognised_once_and_not_with_every_poll() -> None:
    with bad_server() as server:
        server.judge = mlflow_without_experiments
        with opened(server.url) as source:
            assert [source.experiments() for _ in range(3)] == [[], [], []]
        assert len(server.requests) == 4


def test_an_mlflow_with_experiments_is_asked_nothing_more() -> None:
    with bad_server(reply({"experiments": [{"experiment_id": "0", "name": "Default"}]})) as server:
        with opened(server.url) as source:
            source.check()
            source.experiments()
        assert len(server.requests) == 2


def test_a_service_that_takes_the_place_of_an_mlflow_does_not_empty_it() -> None:
    default = reply({"experiments": [{"experiment_id": "0", "name": "Default"}]})
    with bad_server(default) as server, opened(server.url) as source:
        source.experiments()
        server.behaviours[:] = [reply({})]
        with pytest.raises(SourceRefusedError, match="answers, but not as MLflow does"):
            source.experiments()


def test_an_mlflow_without_experiments_that_comes_back_as_something_else_is_noticed() -> None:
    with bad_server() as server:
        server.judge = mlflow_without_experiments
        with opened(server.url) as source:
            source.experiments()
            server.judge = lambda _: answer(403, body=b"no")
            with pytest.raises(SourceRefusedError):
                source.experiments()
            server.judge = lambda _: reply({})
            with pytest.raises(SourceRefusedError, match="answers, but not as MLflow does"):
                source.experiments()


def test_a_real_mlflow_refuses_in_the_words_that_it_is_recognised_by(tracking_server: MlflowServer) -> None:
    with opened(tracking_server.url) as source:
        source._experiments.recognise()
