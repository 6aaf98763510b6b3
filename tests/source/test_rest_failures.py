"""A server that misbehaves: the right consequence, one clear line, and no secret in it."""

from __future__ import annotations

import io
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import trustme
from pydantic import SecretStr
from tenacity import wait_none

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.core.errors import (
    SourceError,
    SourceRefusedError,
    SourceResponseError,
    SourceUnavailableError,
)
from mlflow_monitoring_exporter.http import HttpResponse
from mlflow_monitoring_exporter.source.protocol import Wanted
from mlflow_monitoring_exporter.source.rest import api
from mlflow_monitoring_exporter.source.rest.reader import RestSource
from tests.parts.bad_server import (
    BadServer,
    Behaviour,
    Framing,
    answer,
    bad_server,
    close,
    cut_short,
    drip,
    hang,
    html,
    raw,
    redirect,
)
from tests.parts.programs import free_port

SECRET = "hunter2-and-more"
OpenRest = Callable[..., RestSource]


def reply(status: int, body: object, **headers: str) -> Behaviour:
    return answer(status, {"Content-Type": "application/json", **headers}, json.dumps(body).encode())


def mlflow_error(status: int, code: str, message: str = "") -> Behaviour:
    return reply(status, {"error_code": code, "message": message})


EXPERIMENTS = reply(200, {"experiments": [{"experiment_id": "1", "name": "one"}]})
#: A series with too many points for the interval call.
DEEP = Wanted("r", "k", None, 10_000)


@pytest.fixture
def server() -> Iterator[BadServer]:
    with bad_server(EXPERIMENTS) as started:
        yield started


@pytest.fixture
def open_rest(server: BadServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenRest]:
    """A source of the bad server; between attempts it does not wait unless the server says so."""
    monkeypatch.setattr(api, "_BACKOFF", wait_none())
    opened: list[RestSource] = []

    def start(*behaviours: Behaviour, stop: threading.Event | None = None, **config: object) -> RestSource:
        server.behaviours[:] = behaviours
        settings = {"tracking_uri": server.url, "timeout": 0.8, **config}
        opened.append(RestSource(MlflowConfig.model_validate(settings), stop=stop or threading.Event()))
        return opened[-1]

    yield start
    for source in opened:
        source.close()


def failure(source: RestSource, expected: type[SourceError]) -> str:
    with pytest.raises(expected) as caught:
        source.experiments()
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 500
    assert SECRET not in message
    return message


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (answer(500, body=b"oops\nat line 3"), "(HTTP 500): HTTP 500 Internal Server Error: oops at line 3"),
        (mlflow_error(503, "TEMPORARILY_UNAVAILABLE", "database is locked"), "(HTTP 503): database is locked"),
        (html(502), "does not answer now (HTTP 502): HTTP 502 Bad Gateway"),
        (answer(408), "does not answer now (HTTP 408)"),
        (answer(429, {"Retry-After": "0"}), "does not answer now (HTTP 429)"),
        (hang(), "cannot be reached: timed out"),
        (drip("body"), "cannot be reached: timed out"),
        (close(), "cannot be reached: connection closed without an answer"),
        (cut_short(), "cannot be reached: the answer was cut short"),
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "cannot be reached: "),
        (redirect("http://[broken"), "cannot be reached: not a valid HTTP request or answer"),
    ],
)
def test_what_may_pass_is_tried_three_times_then_unavailable(
    server: BadServer, open_rest: OpenRest, behaviour: Behaviour, said: str
) -> None:
    message = failure(open_rest(behaviour), SourceUnavailableError)
    assert message.startswith(server.url)
    assert said in message
    assert len(server.requests) == 3


def test_a_refused_port_is_unavailable(open_rest: OpenRest) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    message = failure(open_rest(EXPERIMENTS, tracking_uri=url), SourceUnavailableError)
    assert message == f"{url} cannot be reached: connection refused"


def test_a_failure_that_passes_is_not_seen(server: BadServer, open_rest: OpenRest) -> None:
    source = open_rest(answer(500), close(), EXPERIMENTS)
    assert [e.name for e in source.experiments()] == ["one"]


def test_the_servers_wish_to_wait_is_honoured(open_rest: OpenRest) -> None:
    source = open_rest(answer(429, {"Retry-After": "1"}), EXPERIMENTS)
    begun = time.monotonic()
    source.experiments()
    assert 1.0 <= time.monotonic() - begun < 3.0


def test_a_wish_to_wait_may_be_a_date_and_is_never_negative() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=30)

    def wish(**headers: str) -> float | None:
        return HttpResponse(503, {name.replace("_", "-"): value for name, value in headers.items()}, b"").retry_after()

    assert 25 < (wish(Retry_After=format_datetime(soon, usegmt=True)) or 0) <= 30
    assert wish(Retry_After="Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert wish(Retry_After="soon") is None
    assert wish() is None


def test_a_wish_to_wait_for_an_hour_is_cut_and_a_stop_ends_it(open_rest: OpenRest) -> None:
    stop = threading.Event()
    source = open_rest(answer(429, {"Retry-After": "3600"}), stop=stop)
    threading.Timer(0.3, stop.set).start()
    begun = time.monotonic()
    assert failure(source, SourceUnavailableError) == "stopped"
    assert time.monotonic() - begun < 2.0
    assert api._PATIENCE < 60


def test_a_wish_to_wait_for_an_hour_is_followed_as_far_as_a_poll_has_time(
    server: BadServer, open_rest: OpenRest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_PATIENCE", 0.2)
    stop = threading.Event()
    source = open_rest(answer(429, {"Retry-After": "3600"}), stop=stop)
    threading.Timer(5, stop.set).start()
    assert "does not answer now (HTTP 429)" in failure(source, SourceUnavailableError)
    assert len(server.requests) == 3


def test_after_a_stop_nothing_is_sent(server: BadServer, open_rest: OpenRest) -> None:
    stop = threading.Event()
    stop.set()
    assert failure(open_rest(EXPERIMENTS, stop=stop), SourceUnavailableError) == "stopped"
    assert server.requests == []


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (html(), "answered with an HTML page instead of JSON: is mlflow.tracking_uri the address of an MLflow server?"),
        (
            answer(200, body=b'{"experiments": ['),
            "answered with something else instead of JSON: is mlflow.tracking_uri",
        ),
        (answer(200), "answered with nothing instead of JSON: is mlflow.tracking_uri"),
        (reply(200, ["a list"]), "answered with something else instead of JSON"),
        (html(404), "has no MLflow REST API at this address (HTTP 404): is mlflow.tracking_uri the address"),
        (reply(404, {"message": "Not\nfound"}), "has no MLflow REST API at this address (HTTP 404: Not found)"),
        (answer(405), "has no MLflow REST API at this address (HTTP 405)"),
        (mlflow_error(400, "INVALID_PARAMETER_VALUE", "bad \x1b[31mfilter"), "the request (HTTP 400): bad [31mfilter"),
        (answer(401, body=b"You are not"), "asks for credentials (HTTP 401): set mlflow.username and mlflow.password"),
        (
            answer(403, body=b"Invalid Host header - possible DNS rebinding attack detected"),
            "does not answer under this host name (HTTP 403 Invalid Host header): add it to the server's list",
        ),
        (mlflow_error(403, "PERMISSION_DENIED", "no"), "does not permit reading without credentials (HTTP 403): no"),
        (mlflow_error(501, "NOT_IMPLEMENTED", "never"), "refused the request (HTTP 501): never"),
        (answer(501), "refused the request (HTTP 501)"),
        (redirect(f"https://ana:{SECRET}@sso.example/login?token={SECRET}"), "redirects to https://sso.example/login:"),
        (redirect("/somewhere", 308), "redirects to /somewhere: set mlflow.tracking_uri to the address"),
    ],
)
def test_what_a_person_must_change_is_refused_at_once(
    server: BadServer, open_rest: OpenRest, behaviour: Behaviour, said: str
) -> None:
    message = failure(open_rest(behaviour), SourceRefusedError)
    assert message.startswith(server.url)
    assert said in message
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("config", "sent", "keys"),
    [
        ({"token": SecretStr(SECRET)}, f"Bearer {SECRET}", "mlflow.token"),
        (
            {"username": "ana", "password": SecretStr(SECRET)},
            "Basic YW5hOmh1bnRlcjItYW5kLW1vcmU=",
            "mlflow.username and mlflow.password",
        ),
        (
            {"userinfo": f"ana:{SECRET}@"},
            "Basic YW5hOmh1bnRlcjItYW5kLW1vcmU=",
            "the user and password in mlflow.tracking_uri",
        ),
    ],
)
def test_refused_credentials_are_named_by_their_keys_and_never_shown(
    server: BadServer, open_rest: OpenRest, config: dict[str, object], sent: str, keys: str
) -> None:
    userinfo = config.pop("userinfo", "")
    uri = server.url.replace("http://", f"http://{userinfo}")
    source = open_rest(answer(401, body=SECRET.encode()), tracking_uri=uri, **config)
    message = failure(source, SourceRefusedError)
    assert message == f"{server.url} does not accept the credentials (HTTP 401): check {keys}"
    assert server.requests[0].headers["authorization"] == sent
    server.behaviours[:] = [mlflow_error(403, "PERMISSION_DENIED", f"not for {SECRET}")]
    assert "not for [redacted]: check" in failure(source, SourceRefusedError)


def test_a_secret_file_that_cannot_be_read_is_refused(open_rest: OpenRest, tmp_path: Path) -> None:
    message = failure(open_rest(EXPERIMENTS, token_file=tmp_path / "absent"), SourceRefusedError)
    assert "absent: cannot read this secret file" in message


def test_a_ca_file_that_does_not_exist_is_refused(open_rest: OpenRest, tmp_path: Path) -> None:
    message = failure(open_rest(EXPERIMENTS, ca_file=tmp_path / "ca.pem"), SourceRefusedError)
    assert message == f"mlflow.ca_file {tmp_path / 'ca.pem'} does not exist"


def test_the_workspace_is_sent_as_a_header(server: BadServer, open_rest: OpenRest) -> None:
    open_rest(EXPERIMENTS, workspace="team-a").check()
    assert server.requests[0].headers["x-mlflow-workspace"] == "team-a"


def test_every_page_is_followed_and_each_experiment_comes_once(server: BadServer, open_rest: OpenRest) -> None:
    def page(number: str, token: str = "") -> Behaviour:
        return reply(200, {"experiments": [{"experiment_id": number, "name": "n"}], "next_page_token": token})

    source = open_rest(page("1", "a"), page("1", "b"), page("2"))
    assert [e.experiment_id for e in source.experiments()] == ["1", "2"]
    assert [json.loads(r.body).get("page_token") for r in server.requests] == [None, "a", "b"]


def test_a_server_that_repeats_a_page_for_ever_is_not_followed(open_rest: OpenRest) -> None:
    failure(open_rest(reply(200, {"experiments": [], "next_page_token": "again"})), SourceResponseError)
    runs = {"runs": [{"info": {"start_time": None}}], "next_page_token": "again"}
    with pytest.raises(SourceResponseError):
        list(open_rest(reply(200, runs)).runs(["1"]))


@pytest.mark.parametrize(
    "behaviour",
    [
        html(404),
        mlflow_error(501, "NOT_IMPLEMENTED"),
        mlflow_error(500, "FEATURE_DISABLED"),
        mlflow_error(403, "PERMISSION_DENIED"),
        mlflow_error(404, "RESOURCE_DOES_NOT_EXIST"),
    ],
)
def test_without_a_registry_there_are_no_stages(open_rest: OpenRest, behaviour: Behaviour) -> None:
    assert open_rest(behaviour).registry() == ()


def test_a_registry_that_is_only_down_is_unavailable(open_rest: OpenRest) -> None:
    with pytest.raises(SourceUnavailableError):
        open_rest(answer(503)).registry()


def test_a_run_that_vanishes_while_its_history_is_read_is_missing(open_rest: OpenRest) -> None:
    first = reply(200, {"metrics": [{"key": "k", "value": 1, "timestamp": 1}], "next_page_token": "t"})
    source = open_rest(first, mlflow_error(404, "RESOURCE_DOES_NOT_EXIST", "gone"))
    chunks = list(source.histories([DEEP]))
    assert [(len(c.points), c.complete, c.missing) for c in chunks] == [(1, False, False), (0, True, True)]


def test_malformed_records_are_skipped_and_told_of(server: BadServer) -> None:
    info = {"run_id": "good", "experiment_id": "1", "status": "RUNNING", "start_time": "5", "end_time": 0}
    good = {
        "info": info,
        "data": {"metrics": [{"key": "k", "value": "Infinity", "timestamp": "7", "step": "2"}]},
    }
    bad = [
        {**good, "info": {**info, "run_id": "odd status", "status": "SLEEPING"}},
        {**good, "info": {**info, "run_id": "odd metric"}, "data": {"metrics": [{"key": "k", "value": None}]}},
        {"info": {"run_id": "bare"}},
        17,
    ]
    skipped: list[tuple[str, str]] = []
    server.behaviours[:] = [reply(200, {"runs": [*bad, good]})]
    config = MlflowConfig(tracking_uri=server.url)
    source = RestSource(config, stop=threading.Event(), on_skipped=lambda *told: skipped.append(told))
    [page] = source.runs(["1"])
    [other, run] = page.runs
    assert (other.run_id, other.latest) == ("odd metric", ())
    assert (run.run_id, run.start_ms, run.end_ms, run.name) == ("good", 5, None, "")
    assert run.latest[0].value == float("inf")
    assert skipped == [
        ("run odd status", "its status is not one of MLflow's"),
        ("a metric of run odd metric", "metric 'k': its timestamp is not a 64-bit integer"),
        ("run bare", "its status is not one of MLflow's"),
        ("run ?", "a run is not an object"),
    ]


ENDLESS = reply(200, {"metrics": [{"key": "bad", "value": 1, "timestamp": 1}], "next_page_token": "again"})


@pytest.mark.parametrize(
    ("behaviour", "ends", "said"),
    [
        (answer(500, body=b"Internal Server Error"), False, "(HTTP 500)"),
        (ENDLESS, True, "repeats a page of metrics/get-history without end"),
        (mlflow_error(400, "INVALID_PARAMETER_VALUE", "no such key"), True, "(HTTP 400): no such key"),
        (reply(200, {"metrics": {"a": 1}}), True, "that are not a list"),
    ],
)
def test_a_series_that_cannot_be_read_costs_no_other(
    server: BadServer, open_rest: OpenRest, behaviour: Behaviour, ends: bool, said: str
) -> None:
    told: list[tuple[str, str]] = []
    source = open_rest(EXPERIMENTS)
    source._history._on_skipped = lambda *one: told.append(one)
    good = reply(200, {"metrics": [{"key": "good", "value": 1, "timestamp": 1}]})
    server.judge = lambda request: behaviour if "metric_key=bad" in request.path else good
    chunks = list(source.histories([Wanted("r", key, None, 0) for key in ("bad", "good")]))
    assert [(c.key, len(c.points)) for c in chunks if c.key == "good"] == [("good", 1)]
    assert [c.key for c in chunks if c.complete] == [*["bad"] * ends, "good"]
    [(item, reason)] = told
    assert item == "the history of metric 'bad' of run r"
    assert said in reason


def test_a_server_that_fails_at_every_series_is_unavailable(server: BadServer, open_rest: OpenRest) -> None:
    source = open_rest(answer(500))
    with pytest.raises(SourceUnavailableError):
        list(source.histories([Wanted("r", f"k{n}", None, 0) for n in range(20)]))
    assert len(server.requests) < 20


def test_a_bare_nan_costs_no_other_run(open_rest: OpenRest) -> None:
    body = b'{"metrics": [{"key": "k", "value": NaN, "timestamp": 1, "step": 0}]}'
    [chunk] = open_rest(answer(200, body=body)).histories([DEEP])
    assert [repr(p.value) for p in chunk.points] == ["nan"]


def test_an_unknown_certificate_is_named(tmp_path: Path, open_rest: OpenRest) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    other = trustme.CA().issue_cert("127.0.0.1")
    url = _tls_server(other)
    message = failure(open_rest(EXPERIMENTS, tracking_uri=url, ca_file=tmp_path / "ca.pem"), SourceUnavailableError)
    assert message.startswith(f"{url} cannot be reached: TLS failed: certificate verify failed")


def _tls_server(certificate: trustme.LeafCert) -> str:
    """Shakes hands for as long as the tests run, and says no more."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            peer, _ = listener.accept()
            try:
                context.wrap_socket(peer, server_side=True).close()
            except OSError:
                peer.close()

    threading.Thread(target=serve, daemon=True).start()
    return f"https://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("framing", ["length", "chunked", "connection"])
def test_an_answer_that_is_cut_at_any_byte_is_none(
    open_rest: OpenRest, server: BadServer, monkeypatch: pytest.MonkeyPatch, framing: Framing
) -> None:
    """Half a page of experiments would be taken for all of them, and the others for deleted."""
    monkeypatch.setattr(api, "_ATTEMPTS", 1)
    whole = io.BytesIO()
    body = b'{"experiments": [{"experiment_id": "1", "name": "one"}]}'
    answer(200, {"Content-Type": "application/json"}, body, framing=framing)(whole, threading.Event())
    data = whole.getvalue()
    source = open_rest(raw(data), timeout=30)
    assert len(source.experiments()) == 1
    for end in range(len(data)):
        server.behaviours[:] = [raw(data[:end])]
        with pytest.raises(SourceUnavailableError):
            source.experiments()
