"""``dashboards apply`` and ``dashboards export``, against a server that keeps what Grafana's API is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ROOT
from tests.parts.command import run

TOKEN = "glsa_planted-secret"
SHIPPED = {path.stem: json.loads(path.read_text()) for path in (ROOT / "grafana" / "dashboards").glob("*.json")}


@dataclass
class Grafana:
    """Folders and dashboards by uid, as the API of Grafana 9 to 12 keeps them."""

    url: str = ""
    folders: dict[str, str] = field(default_factory=dict)
    dashboards: dict[str, tuple[str, Any]] = field(default_factory=dict)
    writes: int = 0
    provisioned: set[str] = field(default_factory=set)

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if method == "GET":
            return self._read(path)
        self.writes += 1
        return self._made(body) if path == "/api/folders" else self._saved(body)

    def _read(self, path: str) -> tuple[int, Any]:
        if path.partition("?")[0] == "/api/folders":
            return 200, [{"uid": uid, "title": title} for uid, title in self.folders.items()]
        found = self.dashboards.get(path.removeprefix("/api/dashboards/uid/"))
        if found is None:
            return 404, {"message": "Dashboard not found"}
        folder, dashboard = found
        return 200, {"dashboard": {**dashboard, "id": 7, "version": 3}, "meta": {"folderUid": folder}}

    def _made(self, body: Any) -> tuple[int, Any]:
        uid = f"folder-{len(self.folders)}"
        self.folders[uid] = body["title"]
        return 200, {"uid": uid, "title": body["title"]}

    def _saved(self, body: Any) -> tuple[int, Any]:
        uid = body["dashboard"]["uid"]
        if uid in self.provisioned:
            return 412, {"message": "Cannot save provisioned dashboard"}
        assert body["overwrite"]
        self.dashboards[uid] = (body["folderUid"], {k: v for k, v in body["dashboard"].items() if k != "id"})
        return 200, {"status": "success", "uid": uid}


@contextmanager
def started() -> Iterator[Grafana]:
    grafana = Grafana()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                status, said = 401, {"message": "Invalid API key"}
            else:
                status, said = grafana.answer(self.command, self.path, json.loads(body) if body else None)
            text = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    grafana.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield grafana
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def grafana() -> Iterator[Grafana]:
    with started() as running:
        yield running


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    return tmp_path


def apply(grafana: Grafana, here: Path, *more: str) -> dict[str, str]:
    """What became of each dashboard."""
    command = ("dashboards", "apply", "--grafana", grafana.url, "--token-file", "token", "--output", "json", *more)
    done = run(*command, cwd=here)
    assert done.code == 0, done.err
    return {one["name"]: one["result"] for one in json.loads(done.out)}


def test_dashboards_are_created_once_and_brought_up_to_date(grafana: Grafana, here: Path) -> None:
    assert apply(grafana, here) == dict.fromkeys(SHIPPED, "created")
    assert {uid: board for uid, (_, board) in grafana.dashboards.items()} == {b["uid"]: b for b in SHIPPED.values()}
    assert list(grafana.folders.values()) == ["MLflow"]
    assert {folder for folder, _ in grafana.dashboards.values()} == set(grafana.folders)
    before = grafana.writes
    assert apply(grafana, here) == dict.fromkeys(SHIPPED, "unchanged")
    assert grafana.writes == before
    folder, board = grafana.dashboards["mlflow-training"]
    grafana.dashboards["mlflow-training"] = (folder, {**board, "title": "edited"})
    assert apply(grafana, here) == {name: "updated" if name == "mlflow-training" else "unchanged" for name in SHIPPED}
    assert grafana.dashboards["mlflow-training"][1]["title"] == "Training"
    assert apply(grafana, here, "--folder", "Elsewhere") == dict.fromkeys(SHIPPED, "updated"), "they move"
    assert sorted(grafana.folders.values()) == ["Elsewhere", "MLflow"]


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(grafana: Grafana, here: Path) -> None:
    assert apply(grafana, here, "--dry-run") == dict.fromkeys(SHIPPED, "created")
    assert grafana.writes == 0
    done = run("dashboards", "apply", "--grafana", grafana.url, "--token-file", "token", "--dry-run", cwd=here)
    assert "would be created" in done.out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ("--grafana", "%s", "--token-file", "wrong"),
            1,
            "answered HTTP 401 Unauthorized",
        ),
        (("--grafana", "http://127.0.0.1:9", "--token-file", "token"), 1, "http://127.0.0.1:9: connection refused"),
        (("--grafana", "%s", "--token-file", "absent"), 78, "absent: cannot read this secret file"),
        (("--grafana", "grafana:3000", "--token-file", "token"), 2, "must be an http:// or https:// URL"),
    ],
)
def test_what_does_not_work_is_told_without_the_token(
    arguments: tuple[str, ...], code: int, said: str, grafana: Grafana, here: Path
) -> None:
    (here / "wrong").write_text("another-planted-secret")
    filled = [word.replace("%s", grafana.url) for word in arguments]
    done = run("dashboards", "apply", *filled, cwd=here)
    assert done.code == code
    assert said in " ".join(done.err.split()).replace("│ ", ""), done.err
    assert "planted-secret" not in done.err + done.out


def test_a_dashboard_that_is_provisioned_there_is_explained(grafana: Grafana, here: Path) -> None:
    grafana.provisioned = {"mlflow-overview"}
    done = run("dashboards", "apply", "--grafana", grafana.url, "--token-file", "token", cwd=here)
    assert done.code == 1
    assert "provisioned from a file" in done.err


def test_the_files_are_written_as_they_are_shipped(tmp_path: Path) -> None:
    done = run("dashboards", "export", "out/dashboards", cwd=tmp_path)
    assert (done.code, done.out) == (0, "out/dashboards: 9 dashboards\n")
    for path in (ROOT / "grafana" / "dashboards").glob("*.json"):
        assert (tmp_path / "out" / "dashboards" / path.name).read_text() == path.read_text()
