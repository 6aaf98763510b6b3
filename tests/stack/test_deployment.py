"""Images, Compose files and Kubernetes manifests: valid, in step with each other, and without secrets."""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from deploy import operator_rules, values_schema
from mlflow_monitoring_exporter import __version__
from mlflow_monitoring_exporter.config.load import load_config
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.written_by import written_by
from tests.docs.pages import PLUGINS, ROOT, with_files
from tests.parts.command import run
from tests.parts.programs import need

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
PRODUCTION: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.prod.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
KUBERNETES = ROOT / "deploy" / "kubernetes"
CHART = ROOT / "deploy" / "helm" / "mlflow-monitoring-exporter"
#: Passwords for a laptop, which the documentation tells; everything is on loopback.
DOCUMENTED = {"POSTGRES_PASSWORD": "mlflow123", "GRAFANA_PASSWORD": "admin123"}
#: Values of the chart that switch on what is off.
EVERYTHING = {
    "existingSecret": "mlflow-exporter",
    "serviceMonitor": {"enabled": True, "interval": "30s", "labels": {"release": "prometheus"}},
    "networkPolicy": {"enabled": True, "prometheusNamespace": "monitoring", "egressPorts": [443, 5000]},
    "persistence": {"enabled": True, "size": "5Gi", "storageClass": "fast", "existingClaim": ""},
    "env": [{"name": "MAX_EXPERIMENTS", "value": "0"}],
    "imagePullSecrets": [{"name": "registry"}],
    "podAnnotations": {"team": "ml"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "service": {"port": 80, "annotations": {"a": "b"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "dashboards": {"enabled": True, "labels": {"grafana_dashboard": "1"}, "annotations": {"grafana_folder": "MLflow"}},
}


# Compose


def test_every_image_is_pinned_and_every_port_is_on_loopback() -> None:
    for name, service in COMPOSE["services"].items():
        assert re.search(r":v?\d+\.\d+(\.\d+)?(-\w+)?$", service["image"]), name
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", ())), name
    files = DOCKERFILE + (ROOT / "deploy/mlflow/Dockerfile").read_text()
    bases = set(re.findall(r"^FROM (\S+)", files, re.MULTILINE)) - set(re.findall(r" AS (\w+)$", files, re.MULTILINE))
    assert all(re.search(r":\d+\.\d+\.\d+-\w+-\w+$", base) for base in bases)


def test_every_service_that_stays_has_a_health_check_and_comes_back() -> None:
    for name, service in COMPOSE["services"].items():
        if name == "alert-rules":
            assert service["restart"] == "no"
            continue
        assert service["restart"] == "unless-stopped", name
        if "demo" not in service.get("profiles", ()):
            assert all(" " not in part for part in service["healthcheck"]["test"]), name


def test_whoever_waits_waits_for_health() -> None:
    conditions = {
        (name, other): condition["condition"]
        for name, service in COMPOSE["services"].items()
        for other, condition in service.get("depends_on", {}).items()
    }
    for reader in ("prometheus", "alertmanager"):
        assert conditions.pop((reader, "alert-rules")) == "service_completed_successfully"
    assert set(conditions.values()) == {"service_healthy"}
    assert {other for _, other in conditions} >= {"postgres", "mlflow", "prometheus"}


def test_the_exporter_is_limited_and_cannot_write_but_to_its_volume() -> None:
    exporter = COMPOSE["services"]["mlflow-exporter"]
    assert exporter["deploy"]["resources"]["limits"] == {"memory": "512M", "cpus": "0.5"}
    assert exporter["read_only"] is True
    assert (exporter["cap_drop"], exporter["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    assert exporter["environment"]["MLFLOW_EXPORTER_STATE__URL"].startswith("postgresql://"), "replicas share it"
    assert all(":" not in str(port).removeprefix("127.0.0.1::") for port in exporter["ports"]), "or there is only one"


def test_the_deployment_has_the_number_of_the_release() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert COMPOSE["services"]["mlflow-exporter"]["image"] == f"mlflow-monitoring-exporter:{__version__}"
    assert COMPOSE["services"]["alert-rules"]["image"] == f"mlflow-monitoring-exporter:{__version__}-command"
    assert f'org.opencontainers.image.version="{__version__}"' in DOCKERFILE
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    (image,) = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["images"]
    assert image["newTag"] == __version__
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    for file in filter(Path.is_file, map(ROOT.joinpath, tracked)):
        found = re.findall(rb"mlflow-monitoring-exporter[:@]v?(\d+\.\d+\.\d+)", file.read_bytes())
        assert {number.decode() for number in found} <= {__version__}, file


def test_the_package_the_command_and_the_state_have_the_number_of_the_release(tmp_path: Path) -> None:
    """Built anew: what is installed may be older than the checkout."""
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"mlflow_monitoring_exporter-{__version__}-")
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"mlflow_monitoring_exporter-{__version__}.dist-info/METADATA").decode()
        assert b"def upgrade" in archive.read("mlflow_monitoring_exporter/state/migrations/versions/0001_first.py")
    assert f"\nVersion: {__version__}\n" in metadata
    assert run("version", cwd=tmp_path).out.startswith(f"mlflow-monitoring-exporter {__version__} ")
    database = Database(f"sqlite:///{tmp_path}/state.db")
    with database.read() as tx:
        assert written_by(tx) == __version__
    database.close()


def test_the_wheel_of_the_tracking_library_needs_nothing_and_has_all_its_names(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT / "tracking", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"mlflow_monitoring_tracking-{__version__}-")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"mlflow_monitoring_tracking-{__version__}.dist-info/METADATA").decode()
    packages = ("mlflow_monitoring_tracking", "tracking", "tracking_integration")
    assert {f"{package}/__init__.py" for package in packages} <= names
    assert "mlflow_monitoring_tracking/py.typed" in names
    assert [line for line in re.findall(r"^Requires-Dist: .*", metadata, re.MULTILINE) if "extra ==" not in line] == []


def test_files_that_are_mounted_exist() -> None:
    for composed in (COMPOSE, PRODUCTION):
        for service in composed["services"].values():
            for volume in service.get("volumes", ()):
                source, target, *_ = volume.split(":")
                assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], target


def test_prometheus_in_production_differs_only_in_how_it_asks_the_exporter() -> None:
    plain, production = (
        yaml.safe_load((ROOT / "prometheus" / name).read_text()) for name in ("prometheus.yml", "prometheus.prod.yml")
    )
    (job,) = (job for job in production["scrape_configs"] if job["job_name"] == "mlflow-exporter")
    added = {key: job.pop(key) for key in ("scheme", "tls_config", "basic_auth")}
    assert plain == production
    named = {added["tls_config"]["ca_file"], added["basic_auth"]["password_file"]}
    assert named == {f"/run/secrets/{name}" for name in PRODUCTION["services"]["prometheus"]["secrets"]}


def test_prometheus_and_alertmanager_accept_their_files(tmp_path: Path) -> None:
    for name in ("prometheus.yml", "prometheus.prod.yml"):
        file = tmp_path / name
        file.write_text(with_files((ROOT / "prometheus" / name).read_text(), tmp_path))
        subprocess.run([need("promtool"), "check", "config", "--syntax-only", file], check=True)
    subprocess.run([need("amtool"), "check-config", ROOT / "alertmanager" / "alertmanager.yml"], check=True)


# Secrets


def environments(composed: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for service in composed["services"].values():
        yield from ((name, str(value)) for name, value in service.get("environment", {}).items())


def test_no_compose_file_holds_a_secret() -> None:
    for name, value in [*environments(COMPOSE), *environments(PRODUCTION)]:
        for variable, default in re.findall(r"\$\{(\w+):-([^}]*)\}", value):
            assert not secret(variable) or default == DOCUMENTED.get(variable, default[:0]) or not default, name
        rest = re.sub(r"\$\{[^}]*\}", "", value)
        assert not secret(name) or not rest or rest.startswith("/run/secrets/"), name
        assert not re.search(r"//[^/@:]+:[^@$]+@", rest), name


def test_production_has_no_password_of_a_laptop() -> None:
    for name, value in environments(PRODUCTION):
        defaults = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", value))
        assert not any(secret(variable) and default for variable, default in defaults.items()), name
    laptop = {
        name for name, value in environments(COMPOSE) if any(known in value for known in ("admin123", ":-mlflow"))
    }
    assert laptop <= {name for name, _ in environments(PRODUCTION)}, "a documented password that production keeps"


def secret(name: str) -> bool:
    return bool(re.search(r"PASSWORD|SECRET|TOKEN|KEY", name)) and not name.endswith(("_FILE", "_CERT_KEY"))


def test_documented_passwords_are_documented() -> None:
    text = (ROOT / "docs" / "how-to" / "stack.md").read_text()
    assert [word for pair in DOCUMENTED.items() for word in pair if f"`{word}`" not in text] == []


def test_modules_that_the_image_compiles_exist() -> None:
    named = set(re.findall(r"\bmlflow_monitoring_\w+(?:\.\w+)+", DOCKERFILE))
    assert len(named) > 3
    assert [name for name in named if find_spec(name) is None] == []


def test_images_are_built_from_chosen_files_and_hold_no_secret() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    assert ignored[1] == "*"
    chosen = {line[1:] for line in ignored if line.startswith("!")}
    assert chosen == {
        *("mlflow_monitoring_exporter", "tracking", "grafana/dashboards", "pyproject.toml", "README.md", "LICENSE"),
        *("requirements.txt", "requirements-build.txt"),
    }
    for file in (ROOT / "Dockerfile", ROOT / "deploy" / "mlflow" / "Dockerfile"):
        instructions = re.findall(r"^(?:ENV|ARG)\b((?:.*\\\n)*.*)", file.read_text(), re.MULTILINE)
        assert not [word for text in instructions for word in re.findall(r"(\w+)=", text) if secret(word)]


@pytest.mark.parametrize("file", sorted((ROOT / "grafana").rglob("*.*ml")) + sorted((ROOT / "grafana").rglob("*.json")))
def test_no_dashboard_or_data_source_holds_a_secret(file: Path) -> None:
    assert not re.search(r"password|secureJsonData|basicAuth|bearer|api_?key", file.read_text(), re.IGNORECASE)


# Kubernetes


@pytest.fixture(scope="session")
def kustomized() -> str:
    command = [need("kubectl"), "kustomize", str(KUBERNETES)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def rendered(values: Mapping[str, Any], directory: Path) -> str:
    """The chart with these values over its own, by Helm itself or, without it, by its templates' own engine."""
    whole = {**yaml.safe_load((CHART / "values.yaml").read_text()), **values}
    file = directory / "values.json"
    file.write_text(json.dumps(whole))
    if helm := shutil.which("helm"):
        command = [helm, "template", "mlflow-exporter", str(CHART), "--namespace", "monitoring", "--values", str(file)]
    else:
        command = [str(renderer()), str(CHART), "mlflow-exporter", str(file)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def renderer() -> Path:
    """The engine of charts, built once."""
    program = Path(tempfile.mkdtemp()) / "render"
    atexit.register(shutil.rmtree, program.parent)
    debian = {"GOPATH": "/usr/share/gocode", "GO111MODULE": "off"}
    build = [need("go"), "build", "-o", str(program), str(Path(__file__).parent / "helm" / "main.go")]
    done = subprocess.run(build, check=False, capture_output=True, text=True, env={**os.environ, **debian})
    assert done.returncode == 0, done.stderr
    return program


def validate(manifests: str, directory: Path) -> list[Any]:
    """The documents, each strictly valid for the newest Kubernetes known, but for those of the operator."""
    file = directory / "manifests.yaml"
    file.write_text(manifests)
    command = [str(Path(sys.executable).with_name("kubernetes-validate")), "--strict", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    documents = [document for document in yaml.safe_load_all(manifests) if document]
    unknown = {document["kind"] for document in documents if document["apiVersion"].startswith("monitoring.coreos.com")}
    assert (
        set(re.findall(r"find schema for kind (\w+)", done.stdout + done.stderr))
        == unknown
        <= {"ServiceMonitor", "PrometheusRule"}
    )
    return documents


def kinds(documents: list[Any]) -> set[str]:
    return {document["kind"] for document in documents}


def of_kind(documents: list[Any], kind: str) -> Any:
    (found,) = (document for document in documents if document["kind"] == kind)
    return found


ALL = {
    *("Deployment", "Service", "ServiceAccount", "ServiceMonitor", "ConfigMap"),
    *("NetworkPolicy", "PodDisruptionBudget", "PersistentVolumeClaim", "PrometheusRule"),
}
#: What is there only if it is asked for.
ASKED = {"ServiceMonitor", "NetworkPolicy", "PrometheusRule"}


def check(documents: list[Any], tmp_path: Path) -> None:
    """What holds for both ways to install it."""
    pod = of_kind(documents, "Deployment")["spec"]["template"]
    spec = pod["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert str(spec["securityContext"]["runAsUser"]) in DOCKERFILE
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert spec["enableServiceLinks"] is False
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    pages = {container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert pages == {"/livez", "/readyz"}
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    labels = pod["metadata"]["labels"].items()
    for selector in (
        of_kind(documents, "Deployment")["spec"]["selector"]["matchLabels"],
        of_kind(documents, "Service")["spec"]["selector"],
        of_kind(documents, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        of_kind(documents, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels
    monitored = of_kind(documents, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert monitored.items() <= of_kind(documents, "Service")["metadata"]["labels"].items()
    claims = {
        volume["persistentVolumeClaim"]["claimName"] for volume in spec["volumes"] if "persistentVolumeClaim" in volume
    }
    assert claims == {of_kind(documents, "PersistentVolumeClaim")["metadata"]["name"]}
    config_maps = [document for document in documents if document["kind"] == "ConfigMap"]
    (config_map,) = (document for document in config_maps if "config.yaml" in document["data"])
    (dashboards,) = (document for document in config_maps if document is not config_map)
    assert dashboards["metadata"]["labels"]["grafana_dashboard"] == "1", "or Grafana's sidecar finds nothing"
    assert {name: json.loads(text) for name, text in dashboards["data"].items()} == {
        path.name: json.loads(path.read_text()) for path in (ROOT / "grafana" / "dashboards").glob("*.json")
    }
    assert of_kind(documents, "PrometheusRule")["spec"]["groups"] == [
        group
        for path in sorted((ROOT / "prometheus" / "rules").glob("*.yml"))
        for group in yaml.safe_load(path.read_text())["groups"]
    ]
    assert {v["configMap"]["name"] for v in spec["volumes"] if "configMap" in v} == {config_map["metadata"]["name"]}
    file = tmp_path / "config.yaml"
    file.write_text(config_map["data"]["config.yaml"])
    load_config(file, exporter_types=PLUGINS.config_types, environ={"MLFLOW_EXPORTER_PORT": "tcp://10.0.0.1:9797"})


def test_the_manifests_are_strictly_valid_and_fit_together(kustomized: str, tmp_path: Path) -> None:
    documents = validate(kustomized, tmp_path)
    assert kinds(documents) == ALL
    check(documents, tmp_path)
    assert of_kind(documents, "Service")["metadata"]["name"] == "mlflow-exporter", "or rules find no such job"


def test_the_chart_is_strictly_valid_with_everything_switched_on(tmp_path: Path) -> None:
    documents = validate(rendered(EVERYTHING, tmp_path), tmp_path)
    assert kinds(documents) == ALL
    check(documents, tmp_path)
    service, monitor = (of_kind(documents, kind) for kind in ("Service", "ServiceMonitor"))
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "mlflow-exporter", "or rules find no such job"
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


def test_the_chart_is_strictly_valid_as_it_comes(tmp_path: Path) -> None:
    documents = validate(rendered({}, tmp_path), tmp_path)
    assert kinds(documents) == ALL - ASKED


def test_the_chart_without_a_volume_keeps_its_state_in_the_pod(tmp_path: Path) -> None:
    without = {"enabled": False, "size": "2Gi", "storageClass": "", "existingClaim": ""}
    documents = validate(rendered({"persistence": without}, tmp_path), tmp_path)
    assert "PersistentVolumeClaim" not in kinds(documents)
    volumes = {
        volume["name"]: volume for volume in of_kind(documents, "Deployment")["spec"]["template"]["spec"]["volumes"]
    }
    assert volumes["data"] == {"name": "data", "emptyDir": {}}


SHARED = {"state": {"url": "postgresql://exporter@db.example/exporter"}}


def test_replicas_of_the_chart_share_a_database_and_need_no_volume(tmp_path: Path) -> None:
    documents = validate(rendered({"replicas": 3, "config": SHARED}, tmp_path), tmp_path)
    assert "PersistentVolumeClaim" not in kinds(documents)
    deployment = of_kind(documents, "Deployment")["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (3, {"type": "RollingUpdate"})


def test_replicas_without_a_database_are_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"set config.state.url to a postgresql://... or replicas to 1"):
        rendered({"replicas": 3}, tmp_path)


def test_the_same_series_by_any_replica_in_every_way_to_scrape(kustomized: str, tmp_path: Path) -> None:
    """What makes several targets one is in Prometheus' configuration, and must be in all of them."""
    shipped = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text())
    (rules,) = (j["metric_relabel_configs"] for j in shipped["scrape_configs"] if j["job_name"] == "mlflow-exporter")
    *replacing, dropping = rules
    assert dropping["action"] == "labeldrop"
    wanted = [(*rule["source_labels"], rule["regex"], rule["target_label"], rule["replacement"]) for rule in replacing]
    chart = rendered({**EVERYTHING}, tmp_path)
    for manifests in (kustomized, chart):
        documents = [document for document in yaml.safe_load_all(manifests) if document]
        (endpoint,) = of_kind(documents, "ServiceMonitor")["spec"]["endpoints"]
        *found, last = endpoint["metricRelabelings"]
        assert last == dropping
        names = ("regex", "targetLabel", "replacement")
        assert [(*rule["sourceLabels"], *(rule[n] for n in names)) for rule in found][:2] == wanted
        assert [rule["targetLabel"] for rule in found][2:] == ["pod"], "another label that tells replicas apart"


def test_what_is_generated_for_kubernetes_is_up_to_date() -> None:
    assert (CHART / "values.schema.json").read_text() == values_schema.to_text(), "run `make dashboards`"
    assert operator_rules.FILE.read_text() == operator_rules.to_text(), "run `make dashboards`"


SCHEMA = Draft7Validator(json.loads((CHART / "values.schema.json").read_text()))
WEB_TLS = {
    "tls_cert_file": "/run/secrets/mlflow-exporter/tls.crt",
    "tls_key_file": "/run/secrets/mlflow-exporter/tls.key",
}
WEB = {"web": {**WEB_TLS, "username": "prometheus", "password_file": "/run/secrets/mlflow-exporter/password"}}
MOUNT: dict[str, Any] = {"extraVolumes": [{"name": "ca", "secret": {"secretName": "ca"}}]}
MOUNT["extraVolumeMounts"] = [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}]
SPREAD: dict[str, Any] = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
TO = {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"protocol": "TCP", "port": 5000}]}
BASIC = {"username": {"name": "web", "key": "user"}, "password": {"name": "web", "key": "password"}}
VALUES: dict[str, Mapping[str, Any]] = {
    "as it comes": {},
    "everything": EVERYTHING,
    "TLS and a password on the pages": {"config": WEB, "existingSecret": "s"},
    "and a monitor that knows both": {
        "config": WEB,
        "serviceMonitor": {
            "enabled": True,
            "interval": "15s",
            "tlsConfig": {"insecureSkipVerify": True},
            "basicAuth": BASIC,
        },
    },
    "another port": {"config": {"web": {"listen": ":8080"}}},
    "another port on every address of IPv6": {"config": {"web": {"listen": "[::]:8081"}}},
    "more files": MOUNT,
    "more variables": {"extraEnvFrom": [{"secretRef": {"name": "proxy"}}]},
    "a digest": {"image": {"repository": "r/i", "tag": "1", "digest": f"sha256:{'a' * 64}", "pullPolicy": "Always"}},
    "a tag": {"image": {"repository": "r/i", "tag": "1.2", "pullPolicy": "IfNotPresent"}},
    "labels and a priority": {"podLabels": {"team": "ml"}, "priorityClassName": "high"},
    "an account of the cloud": {
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/a"}}
    },
    "spread": {"topologySpreadConstraints": [{**SPREAD, "labelSelector": {"matchLabels": {"a": "b"}}}]},
    "a network with destinations": {"networkPolicy": {"enabled": True, "egressPorts": [], "egress": [TO]}},
    "a network without any": {"networkPolicy": {"enabled": True, "prometheusNamespace": "m", "egressPorts": [443]}},
    "three replicas": {"replicas": 3, "config": {"state": {"url": "postgresql://exporter@db/exporter"}}},
    "several tracking servers": {
        "config": {"mlflow": [{"name": n, "tracking_uri": f"http://{n}:5000"} for n in ("eu", "us")]}
    },
    "no volume": {"persistence": {"enabled": False}},
    "a volume that is there": {"persistence": {"enabled": True, "existingClaim": "mine"}},
    "rules alone": {"prometheusRule": {"enabled": True}},
    "dashboards alone": {"dashboards": {"enabled": True, "labels": {"grafana_dashboard": "1"}}},
    "alerts and receivers": {
        "config": {
            "alerts": {"low": {"metric": "accuracy", "below": 0.8}},
            "notifications": {"slack": {"webhook_url_file": "/etc/alertmanager/secrets/slack_url"}},
        }
    },
}


@pytest.mark.parametrize("name", VALUES)
def test_the_chart_is_valid_with(name: str, tmp_path: Path) -> None:
    values = VALUES[name]
    whole = {**yaml.safe_load((CHART / "values.yaml").read_text()), **values}
    assert [error.message for error in SCHEMA.iter_errors(whole)] == []
    documents = validate(rendered(values, tmp_path), tmp_path)
    (container,) = of_kind(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
    web = values.get("config", {}).get("web", {})
    (port,) = container["ports"]
    assert str(port["containerPort"]) == web.get("listen", ":9797").rpartition(":")[2]
    schemes = {container[probe]["httpGet"]["scheme"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert schemes == {"HTTPS" if "tls_cert_file" in web else "HTTP"}
    if "ServiceMonitor" in kinds(documents):
        (endpoint,) = of_kind(documents, "ServiceMonitor")["spec"]["endpoints"]
        assert endpoint["scheme"] == ("https" if "tls_cert_file" in web else "http")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"config": None}, "config is empty: it is config.yaml, and needs at least mlflow.tracking_uri"),
        ({"config": {"state": {"url": "postgres://db/exporter"}}}, "begins with postgres://: write postgresql://"),
        ({"config": {"web": {"listen": "127.0.0.1:9797"}}}, "config.web.listen is on loopback, where no probe"),
    ],
)
def test_values_that_cannot_work_are_a_sentence(values: Mapping[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=re.escape(said)):
        rendered(values, tmp_path)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"config": {"exprot": {"interval": "5s"}}}, "'exprot' was unexpected"),
        ({"config": {"export": {"intervall": "5s"}}}, "'intervall' was unexpected"),
        ({"replcas": 3}, "'replcas' was unexpected"),
        ({"serviceMonitor": {"enabld": True}}, "'enabld' was unexpected"),
        ({"replicas": "three"}, "'three' is not of type 'integer'"),
        ({"config": {}}, "{} should be non-empty"),
    ],
)
def test_misspelt_values_are_named_before_anything_is_rendered(values: Mapping[str, Any], said: str) -> None:
    whole = {**yaml.safe_load((CHART / "values.yaml").read_text()), **values}
    assert any(said in text for error in SCHEMA.iter_errors(whole) for text in messages(error)), "Helm shows these"


def messages(error: Any) -> Iterator[str]:
    yield error.message
    for inner in error.context:
        yield from messages(inner)


def test_every_value_of_the_chart_is_used() -> None:
    templates = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert [name for name in values if f".Values.{name}" not in templates] == []
    assert set(re.findall(r"\.Values\.(\w+)", templates)) == values.keys()
