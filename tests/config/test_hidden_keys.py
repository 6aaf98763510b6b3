"""A secret that was written where a name belongs is not printed; names that people write are."""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_monitoring_exporter.config import suggest
from mlflow_monitoring_exporter.config.load import load_config
from mlflow_monitoring_exporter.config.redaction import secrets_of
from mlflow_monitoring_exporter.config.schema import MlflowConfig, Settings
from mlflow_monitoring_exporter.config.tls import TlsFiles, TlsFilesError
from mlflow_monitoring_exporter.core.disclosure import HIDDEN_KEY, is_plain
from mlflow_monitoring_exporter.core.errors import ConfigError, ConfigProblem
from mlflow_monitoring_exporter.core.redaction import Redactor
from mlflow_monitoring_exporter.exporters.plugins import load_plugins

TYPES = load_plugins().config_types

#: Made up, each in the form of a real kind.
TOKENS = (
    "ghp_AbC123dEf456GhI789jKl012MnO345pQr678",
    "glpat-x7Yk2LmQ9sTz4VbN8cRd",
    "dapi0f3a9c5d7e1b2a4c6d8e0f1a3b5c7d9e",
    "AKIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY",
    "sk-proj-4eC39HqLyjWDarjtT1zdp7dc",
    "xoxb-2750394857-8472659103-pQr7tUv2WxY5zAb8",
    "hvs-CAESIJ4x8Kq2Lm9Np3Qr7St1Uv5Wx",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r",
    "550e8400-e29b-41d4-a716-446655440000",
    "pl4nted-s3cret-v4lue",
    "c29tZSBzZWNyZXQ+dGV4dA==",
    "P@ssw0rd",
)

#: What makes a configuration with the token in one place, in JSON, which is YAML, too.
PLACES: dict[str, Callable[[str], str]] = {
    "top": lambda t: f'"{t}": 5',
    "top, twice": lambda t: f'"{t}": 5\n"{t}": 5',
    "mlflow": lambda t: f'mlflow: {{"{t}": 5}}',
    "mlflow, twice": lambda t: f'mlflow: {{"{t}": 5, "{t}": 6}}',
    "one of several servers": lambda t: f'mlflow: [{{name: a, "{t}": 5}}, {{name: b}}]',
    "export": lambda t: f'export: {{"{t}": 5}}',
    "export, complex": lambda t: f'export:\n  ? "{t}"\n  : 5',
    "an alias": lambda t: f'export: &a {{"{t}": *a}}',
    "a tag": lambda t: f'export: {{"{t}": !foo x}}',
    "a variable that is not set": lambda t: f'mlflow: {{name: "${{{re.sub(r"[^A-Za-z0-9]", "_", "V" + t)}}}"}}',
    "a variable": lambda t: f'export: {{"{t}": "${{NOT_SET}}"}}',
    "an exporter": lambda t: f'exporters: {{"{t}": 5}}',
    "an exporter without type": lambda t: f'exporters: {{"{t}": {{path: x}}}}',
    "an exporter with a wrong key": lambda t: f'exporters: {{"{t}": {{type: file, pth: x}}}}',
    "a key of an exporter": lambda t: f'exporters: {{file: {{"{t}": x}}}}',
    "a key of resource": lambda t: f'exporters: {{otlp: {{endpoint: "http://h", resource: {{"{t}": [x]}}}}}}',
    "a key of a shorthand": lambda t: f'prometheus: {{gateway: "h:1", "{t}": x}}',
    "twice in a shorthand": lambda t: f'prometheus: {{"{t}": x}}\nexporters: {{pushgateway: {{"{t}": y}}}}',
    "an alert": lambda t: f'alerts: {{"{t}": {{metric: m}}}}',
    "an alert that is none": lambda t: f'alerts: {{"{t}": 5}}',
    "a key of an alert": lambda t: f'alerts: {{a: {{metric: m, above: 1, "{t}": x}}}}',
    "a metric of an alert": lambda t: (
        f'export: {{metrics: {{include: [x]}}}}\nalerts: {{a: {{metric: "{t}", above: 1}}}}'
    ),
    "a label": lambda t: f'gauges: {{labels: {{add: {{"{t}": x}}}}}}',
    "labels": lambda t: f'gauges: {{labels: {{"{t}": x}}}}',
    "rename": lambda t: f'export: {{metrics: {{rename: {{"{t}": "-"}}}}}}',
    "direction": lambda t: f'export: {{metrics: {{direction: {{"{t}": up}}}}}}',
    "a header": lambda t: f'exporters: {{http_json: {{endpoint: "http://h", headers: {{"{t}": [1]}}}}}}',
    "success": lambda t: f'exporters: {{http_json: {{endpoint: "http://h", success: {{json: {{"{t}": .nan}}}}}}}}',
    "an empty path": lambda t: f'exporters: {{http_json: {{endpoint: "http://h", success: {{json: {{"{t}.": 1}}}}}}}}',
    "a status": lambda t: f'exporters: {{http_json: {{endpoint: "http://h", success: {{status: "{t}"}}}}}}',
    "token_file": lambda t: f'mlflow: {{token_file: "{t}"}}',
    "password_file": lambda t: f'state: {{password_file: "{t}"}}',
    "the file of an exporter's token": lambda t: (
        f'exporters: {{http_json: {{endpoint: "http://h", token_file: "{t}"}}}}'
    ),
}


def said(directory: Path, text: str) -> str:
    file = directory / "config.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(file, exporter_types=TYPES, environ={})
    return str(caught.value).replace(f"{directory}/", "")


def betrays(token: str, text: str) -> bool:
    """Whether a longer part of ``token`` is in ``text``."""
    said = re.sub(r"[^a-z0-9]", "_", text.lower())
    token = re.sub(r"[^a-z0-9]", "_", token.lower())
    return any(token[at : at + 7] in said for at in range(max(1, len(token) - 6)))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("token", TOKENS)
def test_a_token_as_a_key_or_as_a_file_is_not_printed_and_its_line_is(token: str, place: str, tmp_path: Path) -> None:
    found = said(tmp_path, PLACES[place](token))
    assert not betrays(token, found), found
    assert found.startswith("config.yaml:")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(string.ascii_letters + string.digits, min_size=20, max_size=80).filter(
        lambda text: any(c.isdigit() for c in text)
    ),
    st.sampled_from(["", "ghp_", "sk-", "my_token-"]),
    st.sampled_from(["", "-x", "_prod"]),
)
def test_no_long_word_with_digits_is_plain_whatever_is_around_it(word: str, before: str, after: str) -> None:
    text = before + word + after
    assert not is_plain(text)
    assert word not in str(ConfigProblem("config.yaml:1", f"export.{text}", "unknown key"))


def test_hardly_any_random_token_of_letters_and_digits_is_plain() -> None:
    chance = random.Random(5)
    for length in (16, 20, 32, 40):
        for alphabet in (string.ascii_letters + string.digits + "_-", string.ascii_lowercase + string.digits):
            plain = sum(is_plain("".join(chance.choices(alphabet, k=length))) for _ in range(1000))
            assert plain <= (60 if length < 20 else 25), (length, alphabet)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "prod",
            "prod-eu",
            "gpu-a100-80gb",
            "k8s",
            "e2e-tests",
            "remote_write_2",
            "node12",
            "http_json_backup",
            "v1.2.3",
        ),
        *("AccuracyDropped", "HighValidationLoss", "LossIsNaN", "P95LatencyMs", "GPUMemoryLow", "Loss too high", "f1"),
        *("validation loss rose by more than ten percent", "run-20260131", "2026-01-31", "Verlust zu groß", "精度"),
        *("train/*", "*_loss", "items.*.status", "X-Request-Id", "us-east-1", "team", "CRITICAL", "<<", ""),
    ],
)
def test_names_that_people_write_are_shown(name: str) -> None:
    assert is_plain(name)
    assert str(ConfigProblem("f:1", f"exporters.{name}", "is wrong")) == f"f:1: exporters.{name}: is wrong"


def test_every_name_of_ours_is_shown() -> None:
    names = {part for path in suggest.setting_keys() for part in path} | set(Settings.model_fields) | set(TYPES)
    names |= {field.alias or name for model in TYPES.values() for name, field in model.model_fields.items()}
    assert len(names) > 80
    assert not [name for name in sorted({*names, *suggest.OLD_NAMES}) if not is_plain(name)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("export: {intervall: 5}", "export.intervall: unknown key; did you mean interval?"),
        ("exporters: {prod-eu2: {type: file, pth: x}}", "exporters.prod-eu2.pth: unknown key; did you mean path?"),
        ("mlflow: {api_key: x}", "mlflow.api_key: unknown key; did you mean token?"),
        (
            "alerts: {LossIsNaN: {metric: m, upper: 1, above: 1}}",
            "alerts.LossIsNaN.upper: unknown key; did you",
        ),
        ("gauges: {labels: {add: {job: tag.x}}}", "gauges.labels.add.job: 'job' is a label already"),
    ],
)
def test_near_misspellings_are_shown_and_answered(text: str, line: str, tmp_path: Path) -> None:
    assert line in said(tmp_path, text)


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_as_the_key_of_a_flag_is_not_printed(token: str) -> None:
    for key in (token, f"export.{token}", f"exporters.{token}.type", f"alerts.{token}.metric", f"{token}." * 21 + "a"):
        with pytest.raises(ConfigError) as caught:
            load_config(None, exporter_types=TYPES, environ={}, flags=[("--set", key, "5")])
        assert not betrays(token, str(caught.value))
        assert "--set: " in str(caught.value)


def test_of_a_file_that_cannot_be_read_the_path_is_shown_if_it_is_one(tmp_path: Path) -> None:
    for file in (
        "/run/secrets/mlflow-token",
        "secrets/token.txt",
        "absent",
        f"{tmp_path}/0f3a9c5d7e1b2a4c6d8e0f1a3b5c",
    ):
        found = said(tmp_path, f"mlflow: {{token_file: '{file}'}}")
        shown = file.replace(f"{tmp_path}/", "")
        assert f"mlflow.token_file: {shown}: cannot read this secret file: No such file" in found
    assert not betrays(TOKENS[0], said(tmp_path, f"mlflow: {{token_file: '/{TOKENS[0]}'}}"))
    found = said(tmp_path, f"mlflow: {{token_file: {TOKENS[0]}}}")
    assert found == (
        "config.yaml:1: mlflow.token_file: cannot read the file that is named here: No such file or directory; "
        "if it is the secret itself, write it without _file"
    )


def test_a_certificate_or_key_instead_of_its_file_is_not_printed() -> None:
    pem = Path("-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----")
    for files in (TlsFiles(pem), TlsFiles(None, pem)):
        with pytest.raises(TlsFilesError, match="write its path there, not what is in it") as caught:
            files.context()
        assert "MIIE" not in str(caught.value)


def test_a_password_with_an_at_sign_in_an_address_is_redacted_whole() -> None:
    assert Redactor().text("see http://me:p@ss:w0rd@host/x now") == "see http://[redacted]@host/x now"
    redactor = Redactor()
    redactor.learn(secrets_of(MlflowConfig(tracking_uri="http://me:p@ss:w0rd@host")))
    assert redactor.text("p@ss:w0rd") == "[redacted]"


def test_what_is_not_shown_is_said_so_once() -> None:
    problem = ConfigProblem("f:1", f"exporters.{TOKENS[0]}.path", "is wrong")
    assert problem.key == f"exporters.{HIDDEN_KEY}.path"
    assert ConfigProblem(problem.where, problem.key, problem.message) == problem
