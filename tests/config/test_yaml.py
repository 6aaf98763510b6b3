"""Whatever the file holds: values or one clear line each, in bounded memory, and no secret in any line."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlflow_monitoring_exporter.config.load import load_config
from mlflow_monitoring_exporter.config.schema import Config
from mlflow_monitoring_exporter.core.errors import ConfigError
from mlflow_monitoring_exporter.exporters.plugins import load_plugins

TYPES = load_plugins().config_types
SECRET = "pl4nted-s3cret-v4lue"


def load(directory: Path, text: str | bytes, **environ: str) -> Config:
    file = directory / "config.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return load_config(file, exporter_types=TYPES, environ=environ)


def said(directory: Path, text: str | bytes, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(directory, text, **environ)
    return str(caught.value).replace(f"{directory}/", "")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("export: {since: !!timestamp x}", "config.yaml:1: export.since: is not a date"),
        ("export:\n  history: !!bool maybe", "config.yaml:2: export.history: is not true or false"),
        ('export: {max_experiments: !!int ""}', "export.max_experiments: is not a number"),
        ("export: {max_experiments: !!int +}", "export.max_experiments: is not a number"),
        ("gauges: {stalled_gaps: !!float x}", "gauges.stalled_gaps: is not a number"),
        ('gauges: {stalled_gaps: !!float ""}', "gauges.stalled_gaps: is not a number"),
        ("export: {max_experiments: !!int 1" + "_000" * 10_000 + "}", "is too long for a number"),
        ("export: {max_experiments: !!int " + ":".join(["1"] * 10_000) + "}", "is too long for a number"),
        ("export: {max_experiments: 0x" + "f" * 5_000 + "}", "is too long for a number"),
        ("export: {max_experiments: 99999999999999999999}", "is too large a number"),
        ("mlflow: {token: !!binary ***}", "YAML syntax"),
        ("mlflow: {token: !!binary 'no base64'}", "mlflow.token: is not base64 of UTF-8 text"),
        ("export: {tags: !!set {a, b}}", "export.tags: has a tag (!) that means nothing here"),
        ("export: !!omap [a: b]", "export: has a tag (!) that means nothing here"),
        ("export: !!pairs [a: b]", "export: has a tag (!) that means nothing here"),
        ("export: {tags: !!python/tuple [a]}", "has a tag (!) that means nothing here"),
        ("mlflow: {name: !!python/object/apply:os.getcwd []}", "has a tag (!) that means nothing here"),
        ("mlflow: {name: !foo bar}", "mlflow.name: has a tag (!) that means nothing here"),
        ("mlflow: {!foo name: bar}", "mlflow: a key must be a word"),
        ("? [a]\n: b", "config.yaml:1: a key must be a word"),
        ("&a [*a]", "the file must hold a mapping"),
        ("export: &a\n  tags: [*a]", "config.yaml:1: export.tags.0: holds itself, by an alias"),
        ("export: &a {<<: *a}", "export.<<: holds itself, by an alias"),
        ("a: " + "[" * 10_000, "config.yaml:1: is nested too deeply"),
        ("{a: " * 10_000, "config.yaml:1: is nested too deeply"),
        ("export: {tags: [" + "1," * 60_000 + "]}", "holds too many values: more than 50000"),
        ("export: {}\n---\nexport: {}", "config.yaml:2: YAML syntax: several documents (---)"),
        ("export:\n\tinterval: 5", "config.yaml:2: YAML syntax: a tab"),
        ("export: {}\nweb: \0", "config.yaml:2: YAML syntax: a character that YAML forbids"),
        (b"export: \xff", "is not UTF-8 text"),
        (b"\xff\xfea", "is not UTF-8 text"),
        ("x" * (1 << 21), "is larger than 1048576 bytes"),
        ("a: &x 1\nb: &x 2", "config.yaml:2: YAML syntax: an anchor (&name) that is there twice"),
        ("a: *nowhere", "config.yaml:1: YAML syntax: an alias (*name) without its anchor"),
        ('mlflow: {token: "\\ud800"}', "mlflow.token: holds half a character"),
        ('"\\ud800": 1', "a key must be text"),
        ('mlflow: {ca_file: "a\\0b"}', "mlflow.ca_file: must not hold the character NUL"),
        ("export: {<<: 5}", "config.yaml:1: export.<<: must be a mapping, or a list of mappings"),
        ("export: {<<: {}, <<: {}}", "export.<<: is given twice"),
        ("export: {interval: 1, interval: 2}", "export.interval: is given twice"),
        ("export: {interval: 1e300}", "export.interval: is not a duration"),
        ("export: {interval: 9999999999999}", "export.interval: is longer than a hundred years"),
        ("state: {max_size: '" + "9" * 400 + "'}", "state.max_size: is too large a size"),
        ("export: {since: '" + "9" * 400 + "'}", "export.since: is none of all, now"),
        ("mlflow: {tracking_uri: 'POSTGRESQL://h/d'}", "mlflow.tracking_uri: is not the URL of a database"),
        ("export: 5", "export: must be a mapping"),
    ],
)
def test_what_is_wrong_is_one_line_with_file_line_and_key(text: str | bytes, line: str, tmp_path: Path) -> None:
    found = said(tmp_path, text)
    assert line in found
    assert found.count("\n") == 0, found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on: 1\n1: 2\nnull: 3", ["on", "1", "null"]),
        ("? a\n: 1\n'b': 1\n\"\": 1", ["a", "b"]),
    ],
)
def test_keys_are_words_whatever_type_yaml_sees_in_them(text: str, value: list[str], tmp_path: Path) -> None:
    found = said(tmp_path, text).splitlines()
    for key in value:
        assert any(f": {key}: unknown key" in line for line in found)


BASE = "exporters:\n  base: &base {type: file, path: base.jsonl, keep: 2, select: &s {metrics: {include: [loss]}}}\n"


def test_what_is_written_beside_a_merge_key_wins_wherever_it_stands(tmp_path: Path) -> None:
    text = BASE + "  before: {<<: *base, path: x.jsonl}\n  after: {path: y.jsonl, <<: *base}\n"
    exporters: Any = load(tmp_path, text).exporters
    assert [str(exporters[name].path) for name in ("base", "before", "after")] == ["base.jsonl", "x.jsonl", "y.jsonl"]
    assert {exporters[name].keep for name in ("base", "before", "after")} == {2}
    assert exporters["after"].select.metrics.include == ("loss",)


def test_of_a_list_of_merged_mappings_the_first_that_has_a_key_counts_and_merges_nest(tmp_path: Path) -> None:
    text = BASE + "  other: &other {<<: *base, keep: 3}\n  both: {<<: [*other, {keep: 4, max_size: 5MB}], path: z}\n"
    both: Any = load(tmp_path, text).exporters["both"]
    assert (both.keep, both.max_size, str(both.path)) == (3, 5_000_000, "z")


def test_a_mistake_in_what_is_merged_is_said_where_it_was_written(tmp_path: Path) -> None:
    text = BASE.replace("keep: 2", "kep: 2") + "  other: {<<: *base}\n"
    assert said(tmp_path, text).splitlines() == [
        "config.yaml:2: exporters.base.kep: unknown key; did you mean keep?",
        "config.yaml:2: exporters.other.kep: unknown key; did you mean keep?",
    ]
    assert "path: is given twice" in said(tmp_path, BASE + "  other: {<<: *base, path: x, path: y}\n")


def by_merges(levels: int) -> str:
    tops = [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, levels)]
    return "a0: &a0 {k: v, l: v, m: v}\n" + "".join(tops)


def by_lists(levels: int) -> str:
    return "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, levels))


def by_mappings(levels: int) -> str:
    inner = [", ".join(f"k{i}: *a{n - 1}" for i in range(10)) for n in range(1, levels)]
    return "a0: &a0 {k: v}\n" + "".join(f"a{n}: &a{n} {{{text}}}\n" for n, text in enumerate(inner, 1))


def by_variables(levels: int) -> str:
    return "a: &a ${BIG}\nb: [" + "*a, " * 40_000 + "]\n"


def by_text(levels: int) -> str:
    return 'export: {tags: [&x "' + "y" * 900_000 + '", ' + "*x, " * 20_000 + "]}\n"


def by_text_elsewhere(levels: int) -> str:
    return 'unknown: &x "' + "y" * 900_000 + '"\nexport: {tags: [' + "*x, " * 20_000 + "]}\n"


def by_keys(levels: int) -> str:
    keys = ", ".join(f"{'k' * 900}{n}: 1" for n in range(500))
    return f"a: &a {{{keys}}}\nalerts:\n" + "".join(f"  x{n}: {{<<: *a}}\n" for n in range(90))


def by_one_scalar(levels: int) -> str:
    return "mlflow: {name: '" + "${BIG}" * 150_000 + "'}\n"


BOMBS = [by_merges, by_lists, by_mappings, by_variables, by_text, by_text_elsewhere, by_keys, by_one_scalar]


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_file_that_unfolds_into_a_large_one_is_refused_in_little_memory(bomb: Any, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(bomb(10))
    program = (
        "import resource, sys\n"
        "from mlflow_monitoring_exporter.cli import main\n"
        "from mlflow_monitoring_exporter.exporters.plugins import load_plugins\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20),) * 2)\n"
        "sys.argv = ['mlflow-monitoring-exporter', 'config', 'validate']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"BIG": "x" * 9999},
    )
    assert done.returncode == 78, done.stderr[-2000:]
    assert "aliases unfold into too many values" in done.stderr or "variables fill in too much text" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("export: {interval: '" + "1" * 900_000 + "x'}", "export.interval: is not a duration"),
        ("export: {since: '" + "1" * 900_000 + "x'}", "export.since: is none of all, now"),
        ("export: {tags: ['" + "[" * 900_000 + "']}", "export.tags: holds a pattern that is too long"),
        ("'" + "k" * 900 + "': 1\n'" + "k" * 1001 + "': 1", "config.yaml:2: a key is too long: more than 1000"),
        (
            "exporters: {http_json: {endpoint: 'http://h', headers: 'a:b" + " " * 900_000 + "\u00e9'}}",
            "line 1 is not a",
        ),
        (
            "exporters: {http_json: {endpoint: 'http://h', headers: {"
            + ",".join(f"h{n}: 1" for n in range(1001))
            + "}}}",
            "exporters.http_json.headers: holds too many headers: more than 1000",
        ),
    ],
)
def test_long_text_is_refused_without_being_searched_again_and_again(text: str, line: str, tmp_path: Path) -> None:
    assert line in said(tmp_path, text)


S = SECRET
PLACES = {
    "an alias": f"mlflow: {{token: *{S}}}",
    "an anchor": f"mlflow: {{token: &{S} a, username: &{S} b}}",
    "a tag": f"mlflow: {{token: !{S} }}",
    "a tag's handle": f"mlflow: {{token: !{S}!x y}}",
    "a tag that is cut": f"mlflow: {{token: !{S}}}",
    "a tag of YAML": f"mlflow: {{token: !!{S} x}}",
    "binary": f"mlflow: {{token: !!binary {S}}}",
    "a colon": f"mlflow:\n  token: a: {S}",
    "an escape": f'mlflow: {{token: "\\q{S}"}}',
    "an open quote": f'mlflow: {{token: "{S}',
    "a character": f"mlflow: {{token: @{S}}}",
    "a directive": f"%YAML {S}\n---\nmlflow: {{}}",
    "a mapping under type": f"exporters: {{prod: {{type: {{token: {S}}}}}}}",
    "a list under type": f"exporters: {{prod: {{type: [{S}]}}}}",
    "type": f"exporters: {{prod: {{type: {S}}}}}",
    "a key below a token": f"mlflow: {{token: {{{S}: 1, {S}: 2}}}}",
    "a variable in braces": f"mlflow: {{token: {{{{ {S} }}}}}}",
    "a port": f"mlflow: {{tracking_uri: 'http://me:{S}'}}",
    "brackets": f"mlflow: {{tracking_uri: 'http://[{S}]/'}}",
    "a scheme": f"mlflow: {{tracking_uri: '{S}:x'}}",
    "a host": f"mlflow: {{tracking_uri: 'http://me:{S}@h\u2100st'}}",
    "a store": f"mlflow: {{tracking_uri: 'postgresql://me:{S}@:x/y'}}",
    "a state": f"state: {{url: 'postgres://me:{S}@host/y'}}",
    "a gateway": f"exporters: {{pushgateway: {{gateway: 'me:{S}'}}}}",
    "a duration": f"export: {{interval: {S}}}",
    "a size": f"state: {{max_size: {S}}}",
    "a date": f"export: {{since: {S}}}",
    "an address": f"web: {{listen: '{S}'}}",
    "a word": f"logging: {{level: {S}}}",
    "a number": f"export: {{max_experiments: {S}}}",
    "a switch": f"export: {{history: {S}}}",
    "a share": f"alerts: {{a: {{metric: m, change: '{S}%'}}}}",
    "a metric": f"alerts: {{a: {{metric: '*{S}', above: 1}}}}",
    "a label": f"gauges: {{labels: {{add: {{team: {S}}}}}}}",
    "a family": f"export: {{metrics: {{rename: {{a: '{S}*'}}}}}}",
    "a header": f"exporters: {{http_json: {{endpoint: 'http://s', headers: {{'{S}': [1]}}}}}}",
    "a list of headers": f"exporters: {{http_json: {{endpoint: 'http://s', headers: ['X: {S}']}}}}",
    "lines of headers": f"exporters: {{http_json: {{endpoint: 'http://s', headers: '{S}'}}}}",
    "a placeholder": "exporters: {http_json: {endpoint: 'http://s', record: {k: 'abc$pl_nted_s_cret'}}}",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_secret_that_came_to_the_wrong_place_is_not_repeated(place: str, tmp_path: Path) -> None:
    found = said(tmp_path, PLACES[place])
    assert SECRET not in found
    assert "pl4nted" not in found
    assert "pl_nted" not in found
    assert "config.yaml:" in found


def test_a_secret_in_a_variable_or_a_flag_is_not_repeated() -> None:
    for variable in ("MLFLOW_TRACKING_URI", "EXPORT_INTERVAL", "MAX_EXPERIMENTS", "MLFLOW_EXPORTER_STATE__MAX_SIZE"):
        with pytest.raises(ConfigError) as caught:
            load_config(None, exporter_types=TYPES, environ={variable: SECRET})
        assert SECRET not in str(caught.value)
    for key in (
        "export.since",
        "logging.level",
        "web.listen",
        "state.url",
        "exporters.file.type",
        "exporters.file.keep",
    ):
        with pytest.raises(ConfigError) as caught:
            load_config(None, exporter_types=TYPES, environ={}, flags=[("--set", key, SECRET)])
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("value", ["9" * 50, "9" * 5000, "1_0", "", "0x10", "1e3"])
def test_numbers_of_variables_are_bounded_like_those_of_files(value: str) -> None:
    if value in ("", "1_0"):
        load_config(None, exporter_types=TYPES, environ={"MAX_EXPERIMENTS": value})
        return
    with pytest.raises(ConfigError, match=r"^MAX_EXPERIMENTS: \S[^\n]*$"):
        load_config(None, exporter_types=TYPES, environ={"MAX_EXPERIMENTS": value})


def test_a_key_of_a_variable_or_a_flag_cannot_be_endlessly_deep() -> None:
    environ = {"MLFLOW_EXPORTER_" + "__".join("A" * 5000): "x"}
    flags = [("--set", ".".join("a" * 5000), "x")]
    with pytest.raises(ConfigError) as caught:
        load_config(None, exporter_types=TYPES, environ=environ, flags=flags)
    assert [problem.message for problem in caught.value.problems] == ["is nested too deeply: more than 20 levels"] * 2
    assert all(len(line) < 400 for line in str(caught.value).splitlines())


def test_a_secret_file_without_end_or_of_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for file, reason in (
        ("/dev/zero", "is larger than 1048576 bytes"),
        (f"{tmp_path}/binary", "is not UTF-8 text"),
        (f"{tmp_path}", "Is a directory"),
    ):
        found = said(tmp_path, f"mlflow: {{token_file: '{file}'}}")
        assert found.startswith("config.yaml:1: mlflow.token_file: ")
        assert found.endswith(f": cannot read this secret file: {reason}")


def test_the_first_fifty_problems_are_shown_and_how_many_more_there_are(tmp_path: Path) -> None:
    fifty = said(tmp_path, "".join(f"key{n}: 1\n" for n in range(50))).splitlines()
    assert len(fifty) == 50
    assert all("unknown key" in line for line in fifty)
    more = said(tmp_path, "".join(f"key{n}: 1\n" for n in range(51))).splitlines()
    assert (len(more), more[-1]) == (51, "and 1 more problem")
    many = said(tmp_path, "".join(f"key{n}: 1\n" for n in range(300))).splitlines()
    assert (len(many), many[-1]) == (51, "and 250 more problems")


def test_every_encoding_of_yaml_is_read(tmp_path: Path) -> None:
    text = "export: {interval: 5s}\nmlflow: {name: a}  # ä"
    for raw in (text.encode("utf-16"), text.encode("utf-8-sig"), text.replace("\n", "\r\n").encode()):
        assert load(tmp_path, raw).export.interval == 5


def test_explicit_tags_of_plain_types_count(tmp_path: Path) -> None:
    token = base64.b64encode(SECRET.encode()).decode()
    text = f"mlflow: {{name: !!str 5, token: !!binary {token}}}\ngauges: {{stalled_gaps: !!float 3}}\nexport:\n"
    text += "  max_experiments: !!int '7'\n  since: !!timestamp 2026-01-31\n  history: !!bool 'no'\n"
    config = load(tmp_path, text)
    assert (config.mlflow.name, config.mlflow.secret("token").get()) == ("5", SECRET)
    assert (config.export.max_experiments, config.export.since, config.export.history) == (7, "2026-01-31", False)
    assert load(tmp_path, "mlflow:\n  name: !!str ${N}\n", N="5").mlflow.name == "5"
    assert load(tmp_path, "web:\n  listen: 1:30\n").web.listen == "1:30", "not the number 90"
