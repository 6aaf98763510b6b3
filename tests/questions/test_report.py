"""Reports: one file that loads nothing, with every picture drawn, whatever the runs hold."""

from __future__ import annotations

import json
import math
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.parts.command import run
from tests.parts.programs import need, need_library
from tests.parts.run_store import DAY, RunStore


class Page(HTMLParser):
    """What a page refers to, its figures, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.figures: list[str] = []
        self.specs: dict[str, str] = {}
        self.text = ""
        self._in = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self._in = values.get("id") or "" if values.get("type") == "application/json" else tag
        for name in ("src", "href", "action", "data"):
            if values.get(name):
                self.addresses.append(str(values[name]))
        if values.get("data-figure"):
            self.figures.append(str(values["data-figure"]))
            assert values.get("aria-label")

    def handle_data(self, data: str) -> None:
        if self._in.startswith("figure-"):
            self.specs[self._in] = self.specs.get(self._in, "") + data
        elif self._in not in {"script", "style"}:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        self._in = ""


class Tags(HTMLParser):
    """Which tags there are."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)


def tags_of(html: str) -> set[str]:
    tags = Tags()
    tags.feed(html)
    return tags.seen


EVERYTHING = ("--since", "1970-01-01", "--until", "1970-02-01")


def report(store: RunStore, directory: Path, name: str) -> Path:
    done = run("generate-report", "--tracking-uri", store.uri, *EVERYTHING, "--output", name, cwd=directory)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{name}: {len(store.runs)} runs in ")
    return directory / name


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, store: RunStore) -> Path:
    return report(store, tmp_path_factory.mktemp("report"), "report.html")


def test_the_page_loads_nothing_and_draws_everything(made: Path, store: RunStore) -> None:
    page = Page(made.read_text())
    assert [address for address in page.addresses if not address.startswith("#")] == []
    assert len(page.figures) == len(page.specs) >= 6
    for name in page.figures:
        spec = json.loads(page.specs[name])
        assert "http" not in json.dumps({key: value for key, value in spec.items() if key != "$schema"})
    for words in (
        f"{store.uri}, 1970-01-01 00:00 to 1970-02-01 00:00 (UTC): 14 runs",
        "Runs to look at", "Habits", "vision", "tabular 🚀", "resnet-9",
        "its status is FAILED", "Parameters and what came of them", "Each against each", "val/loss depends on",
        "The median moves by -0.05 each day. It gets better",
    ):  # fmt: skip
        assert words in page.text, words


def dumped(page: Path) -> tuple[str, str]:
    """What a browser without network makes of a page, and what it said on its console."""
    done = subprocess.run(
        [
            need("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000",
            "--enable-logging=stderr", "--v=0", "--proxy-server=127.0.0.1:9", "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, "\n".join(said)


def test_a_browser_draws_every_picture_without_a_word(made: Path) -> None:
    html, console = dumped(made)
    assert console == ""
    drawn = re.findall(r'data-figure="[^"]*".*?(<svg.*?</svg>)', html, re.DOTALL)
    assert len(drawn) == len(Page(made.read_text()).figures)
    for picture in drawn:
        assert len(re.findall(r"<path[^>]* d=\"M", picture)) > 2


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """Names that would be markup, values that are none, and more parameters than anybody looks at."""
    made = RunStore(tmp_path_factory.mktemp("odd"))
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    experiment = made.experiment(evil, {"mlflow.note.content": evil})
    for at in range(12):
        made.run(
            experiment,
            name=f"{evil}{at}",
            start=(at + 1) * DAY,
            metrics={
                "accuracy": math.nan if at == 3 else at / 12,
                f"val/{evil[:20]}.[0]\"'": float(at),
                "auc": math.inf,
            },
            params={"lr": str(at), evil[:40]: evil if at % 2 else "b", **{f"p{n}": str(n * at) for n in range(35)}},
        )
    made.run(made.experiment("bare"), start=DAY)
    made.run(made.experiment("one"), start=DAY, metrics={"accuracy": 0.5})
    return made


def test_nothing_of_others_runs_in_the_page(odd: RunStore, tmp_path: Path) -> None:
    page = report(odd, tmp_path, "report.html")
    html = page.read_text()
    assert "<script>alert" not in html
    drawn, console = dumped(page)
    assert console == ""
    assert tags_of(drawn) >= {"svg", "path"}
    assert not (tags_of(drawn) | tags_of(html)) & {"img", "iframe", "object"}


def test_the_same_is_on_paper_whatever_the_names(odd: RunStore, tmp_path: Path) -> None:
    need_library("pango-1.0")
    paper = report(odd, tmp_path, "report.pdf")
    assert paper.read_bytes().startswith(b"%PDF")
    text = subprocess.run([need("pdftotext"), "-layout", paper, "-"], capture_output=True, text=True, check=True).stdout
    for words in ("MLflow report", "<script>alert(1)</script>", "Each against each", "diverged"):
        assert words in text, words


def test_a_report_of_nothing_says_so(tmp_path: Path) -> None:
    empty = RunStore(tmp_path)
    done = run("generate-report", "--tracking-uri", empty.uri, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "No run started in this time." in (tmp_path / "report.html").read_text()


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path, store: RunStore) -> None:
    done = run("generate-report", "--output", "report.docx", cwd=tmp_path)
    assert (done.code, done.err) == (78, "error: --output: report.docx ends neither in .html nor in .pdf\n")
    (tmp_path / "report.html").write_text("old")
    done = run("generate-report", "--tracking-uri", "http://127.0.0.1:9", cwd=tmp_path)
    assert done.code == 1
    assert (tmp_path / "report.html").read_text() == "old"
