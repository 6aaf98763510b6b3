"""A server that speaks as much of W&B's protocol as a client needs to bring a run there: GraphQL and file streams.

::

    with WandbServer() as server:
        server.url                       for WANDB_BASE_URL
        server.run("<id>").rows()        what the client sent, line by line

What a client may see of a real one: lines have numbers, and a line that comes again replaces the one of its number; a
run that is resumed says how many lines it has and what the last one is. Runs are made by ``UpsertBucket``, so a run
id is the client's own choice.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

HISTORY, EVENTS, OUTPUT, SUMMARY = "wandb-history.jsonl", "wandb-events.jsonl", "output.log", "wandb-summary.json"


@dataclass
class WandbRun:
    """One run, as the server has it."""

    project: str
    id: str
    display_name: str = ""
    group: str = ""
    notes: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, dict[int, str]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None
    created: int = 0
    replaced: int = 0  # lines that came again with other content

    def rows(self) -> list[dict[str, Any]]:
        """The history, in order."""
        lines = self.lines.get(HISTORY, {})
        assert sorted(lines) == list(range(len(lines))), "lines are missing"
        return [json.loads(lines[number]) for number in sorted(lines)]

    def points(self, step_key: str) -> list[tuple[str, Any, Any]]:
        """Key, step and value of everything in the history."""
        return [
            (key, row.get(step_key), value)
            for row in self.rows()
            for key, value in row.items()
            if not key.startswith("_") and key != step_key
        ]

    def settings(self) -> dict[str, Any]:
        """The configuration without W&B's own part of it."""
        return {key: value["value"] for key, value in self.config.items() if key != "_wandb"}

    def status(self) -> dict[str, Any]:
        """What a client that resumes is told."""

        def count(name: str) -> int:
            return len(self.lines.get(name, {}))

        def tail(name: str) -> str:
            lines = self.lines.get(name, {})
            return json.dumps([lines[max(lines)]] if lines else [])

        return {
            "id": self.id,
            "name": self.id,
            "displayName": self.display_name,
            "sweepName": None,
            "summaryMetrics": self.lines.get(SUMMARY, {}).get(0, "{}"),
            "logLineCount": count(OUTPUT),
            "historyLineCount": count(HISTORY),
            "eventsLineCount": count(EVENTS),
            "historyTail": tail(HISTORY),
            "eventsTail": tail(EVENTS),
            "config": json.dumps(self.config),
            "tags": [],
            "wandbConfig": json.dumps({"t": 1}),
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is what tests are about."""


class WandbServer:
    """Listens on a free port. ``refuses`` may answer any request with a status; it is given method and path."""

    def __init__(self) -> None:
        self.runs: dict[tuple[str, str], WandbRun] = {}
        self.requests: list[str] = []
        self.refuses: Callable[[str], int | None] = lambda _: None
        self.gone: set[str] = set()  # ids of deleted runs
        self._mutex = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def run(self, run_id: str) -> WandbRun:
        [found] = [run for (_, each), run in self.runs.items() if each == run_id]
        return found

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in Python
                pass

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                status = server.refuses(f"{self.command} {self.path}")
                said = "user is not logged in" if status == 401 else "refused"
                answer = {"errors": [{"message": said}]} if status else server.answer(self.path, body)
                if answer is None:
                    status, answer = 404, {"error": "not here"}
                data = json.dumps(answer).encode()
                self.send_response(status or 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = _answer  # noqa: N815 - their names in Python

        return Handler

    def answer(self, path: str, body: bytes) -> Any:
        """To one request; None for what is not known."""
        with self._mutex:
            if path.endswith("/graphql"):
                asked = json.loads(body)
                operation = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
                name = operation[1] if operation else ""
                self.requests.append(name)
                answer = self._graphql(name, asked.get("variables") or {})
                return answer if "errors" in answer else {"data": answer}
            if found := re.fullmatch(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream", path):
                self.requests.append("file_stream")
                self._stream(self.runs[found[2], found[3]], json.loads(body))
                return {"exitcode": None, "limits": {}}
            if found := re.fullmatch(r"/upload/([^/]+)/([^/]+)/(.+)", path):
                self.runs[found[1], found[2]].files[found[3]] = body
                return {}
            self.requests.append(path)
            return None

    def _graphql(self, name: str, given: dict[str, Any]) -> Any:
        if name in {"Viewer", "GetViewer"}:
            lists: dict[str, Any] = {"teams": {"edges": []}, "apiKeys": {"edges": []}}
            person = {
                "id": "u",
                "name": "U",
                "username": "u",
                "email": "u@example.org",
                "admin": False,
                "deletedAt": None,
            }
            return {"viewer": {"__typename": "User", "entity": "team", "flags": "{}", **person, **lists}}
        if name in {"ServerFeaturesQuery", "ServerFeatures"}:
            return {"serverInfo": {"features": []}}
        if name == "RunResumeStatus":
            run = self.runs.get((given["project"], given["name"]))
            bucket = run.status() if run else None
            return {
                "model": {"id": "p", "name": given["project"], "entity": {"id": "e", "name": "team"}, "bucket": bucket}
            }
        if name == "UpsertBucket":
            return self._upsert(given)
        if name == "CreateRunFiles":
            run = self.runs[given["project"], given["run"]]
            files = [
                {"name": each, "uploadUrl": f"{self.url}/upload/{run.project}/{run.id}/{each}"}
                for each in given["files"]
            ]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        return {}

    def _upsert(self, given: dict[str, Any]) -> Any:
        project, run_id = given["project"], given["name"]
        if run_id in self.gone:
            text = f"run {run_id} was previously created and deleted; try a new run name"
            return {"errors": [{"message": text, "extensions": {"code": "PERMISSION_ERROR"}}]}
        run = self.runs.get((project, run_id))
        if inserted := run is None:
            run = self.runs[project, run_id] = WandbRun(project, run_id)
        assert run is not None
        run.created += inserted
        run.display_name = given.get("displayName") or run.display_name
        run.group = given.get("groupName") or run.group
        run.notes = given.get("notes") or run.notes
        run.exit_code = None
        if given.get("config"):
            run.config = json.loads(given["config"])
        bucket = {
            "id": f"id-{run_id}",
            "name": run_id,
            "displayName": run.display_name or run_id,
            "description": None,
            "config": json.dumps(run.config),
            "sweepName": None,
            "project": {"id": "p", "name": project, "entity": {"id": "e", "name": "team"}},
            "historyLineCount": len(run.lines.get(HISTORY, {})),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _stream(self, run: WandbRun, given: dict[str, Any]) -> None:
        for name, part in (given.get("files") or {}).items():
            lines = run.lines.setdefault(name, {})
            for number, line in enumerate(part["content"], part["offset"]):
                run.replaced += name == HISTORY and number in lines and lines[number] != line
                lines[number] = line
        if given.get("complete"):
            run.exit_code = given.get("exitcode")
