"""What a page shows can be used as it stands, and does what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import PAGES, PLUGINS, ROOT, blocks, loaded, with_files
from tests.parts.command import run
from tests.parts.programs import need


def purpose(text: str) -> str:
    """Who reads a YAML block. What is not known to be for somebody else is for us."""
    if "scrape_configs:" in text:
        return "prometheus"
    if text.startswith(("# GitHub Actions\n", "# GitLab CI\n")):
        return "ci"
    return "kubernetes" if "livenessProbe:" in text else "ours"


YAML = blocks("yaml")
CONFIGS = [name for name, text in YAML.items() if purpose(text) == "ours"]
SCRAPES = [name for name, text in YAML.items() if purpose(text) == "prometheus"]


@pytest.mark.parametrize("name", YAML)
def test_every_yaml_block_is_yaml(name: str) -> None:
    assert yaml.safe_load(YAML[name])


@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration_that_a_page_shows_can_be_used(name: str, tmp_path: Path) -> None:
    loaded(YAML[name], tmp_path)


@pytest.mark.parametrize("name", SCRAPES)
def test_prometheus_accepts_every_configuration_that_a_page_shows(name: str, tmp_path: Path) -> None:
    file = tmp_path / "prometheus.yml"
    file.write_text(with_files(YAML[name], tmp_path))
    checked = subprocess.run([need("promtool"), "check", "config", file], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_there_are_such_configurations() -> None:
    assert len(CONFIGS) >= 5
    assert len(SCRAPES) >= 3


def test_every_exporter_is_in_readme_and_shows_its_yaml(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    for kind, plugin in PLUGINS.items():
        assert f"| `{kind}` |" in readme
        docstring = sys.modules[plugin.create.__module__].__doc__ or ""
        block = docstring.split("::\n\n")[1]
        example = "\n".join(line[4:] for line in block.splitlines() if line.startswith("    "))
        assert [block.type for block in loaded(example, tmp_path).exporters.values()] == [kind]


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_every_page_is_linked_from_readme_or_from_the_page_before() -> None:
    linked = {ROOT / "README.md"}
    pending = list(linked)
    while pending:
        page = pending.pop()
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            file = (page.parent / target).resolve()
            found = {file} if file.suffix == ".md" else set(file.glob("*.md")) if file.is_dir() else set()
            pending += found - linked
            linked |= found
    assert [str(page.relative_to(ROOT)) for page in PAGES if page not in linked] == []


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A directory after ``generate-sample``, and what that said."""
    directory = tmp_path_factory.mktemp("demo")
    done = run("generate-sample", cwd=directory)
    assert done.code == 0, done.err
    return directory, done.out


def test_the_demo_says_what_readme_shows(demo: tuple[Path, str]) -> None:
    directory, said = demo
    out = said + run("export-once", cwd=directory).out
    shown = next(text for text in blocks("console").values() if "wrote" in text)

    def comparable(text: str) -> list[str]:
        text = re.sub(r"sqlite:///+\S*", "STORE", re.sub(r"\d+\.\d s", "TIME", text))
        return [" ".join(line.split()) for line in text.splitlines() if line.strip() and line[0] != "$"]

    assert comparable(out) == comparable(shown)
