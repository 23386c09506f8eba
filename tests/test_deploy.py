"""What is in ``deploy/``: linted by the tools made for it, and used where one machine can."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml
from compose_spec.models import ComposeSpecification

import likewise
from likewise.config import load, parse

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "likewise"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
UNIT = (DEPLOY / "likewise.service").read_text("utf-8")
FULL = {
    "replicas": 3,
    "workers": 2,
    "config.store": "redis://redis:6379/0",
    "existingSecret": "keys",
    "autoscaling.enabled": "true",
    "networkPolicy.enabled": "true",
    "serviceMonitor.enabled": "true",
    "restartOnConfigChange": "true",
}


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command and wait for it."""
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def helm() -> str:
    """The command, of this environment or another; CI must have it."""
    beside = Path(sys.executable).parent
    found = shutil.which("helm", path=f"{beside}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("no helm; run: make helm")
        pytest.skip("no helm; run: make helm")
    return found


def rendered(helm: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the chart makes of some values."""
    given = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    done = run(helm, "template", "r", str(CHART), *given)
    assert done.returncode == 0, done.stderr
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def of_kind(found: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Return the one manifest of a kind."""
    (manifest,) = [each for each in found if each["kind"] == kind]
    return manifest


# -- the image -----------------------------------------------------------------------------------


def test_the_dockerfile_is_clean() -> None:
    """By hadolint, with no rule switched off."""
    done = run(Path(sys.executable).parent / "hadolint", DEPLOY / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")
    assert "hadolint ignore" not in DOCKERFILE


def test_the_image_starts_offline_and_without_rights() -> None:
    """A user by number, a health check, the weights that everything else uses."""
    last = DOCKERFILE.rpartition("FROM ")[2]
    assert re.search(r"^USER (\d+):\1$", last, re.MULTILINE)
    assert "USER 0" not in last
    assert "HEALTHCHECK" in last
    assert "HF_HUB_OFFLINE=1" in last
    weights = re.search(r"^WEIGHTS := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert weights is not None
    assert weights[1] in DOCKERFILE


def test_what_is_copied_is_let_through() -> None:
    """The ignore file lets pass what the Dockerfile copies, and no more."""
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == names
    assert all((ROOT / name).exists() for name in names)


def test_versions_agree() -> None:
    """Chart, image and compose file are of this version."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    assert chart["appVersion"] == likewise.__version__
    assert f"ARG VERSION={likewise.__version__}" in DOCKERFILE
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    assert compose["services"]["gateway"]["image"] == f"likewise:{likewise.__version__}"


def test_the_configuration_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Valid as it is, and by the variables that are documented."""
    for name in ("UPSTREAM", "STORE", "SNAPSHOTS", "HOST", "ADMIN_KEY"):
        monkeypatch.delenv(f"LIKEWISE_{name}", raising=False)
    settings = load(DEPLOY / "likewise.yaml").settings
    assert settings.store == "sqlite:////data/likewise.db"
    assert settings.gateway.host == "0.0.0.0"  # noqa: S104 - of a container
    assert not settings.gateway.admin_key
    monkeypatch.setenv("LIKEWISE_STORE", "redis://redis:6379/0")
    monkeypatch.setenv("LIKEWISE_ADMIN_KEY", "k")
    settings = load(DEPLOY / "likewise.yaml").settings
    assert (settings.store, settings.gateway.admin_key) == ("redis://redis:6379/0", "k")


def test_it_serves_by_this_configuration(tmp_path: Path) -> None:
    """As the image would start it, and its own health check says that it is well."""
    environment = {
        **os.environ,
        "LIKEWISE_UPSTREAM": "http://127.0.0.1:9",
        "LIKEWISE_STORE": f"sqlite:///{tmp_path}/likewise.db",
        "LIKEWISE_SNAPSHOTS": str(tmp_path / "index"),
        "LIKEWISE_HOST": "127.0.0.1",
        "LIKEWISE_CONFIG": str(DEPLOY / "likewise.yaml"),
        "HF_HUB_OFFLINE": "1",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "likewise", "serve", "--port", "0", "--json"],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            url = json.loads(server.stdout.readline())["url"]
            check = re.search(r'"(import urllib.+)"\]', DOCKERFILE)
            assert check is not None
            code = check[1].replace("http://127.0.0.1:8700", url)
            assert run(sys.executable, "-c", code).returncode == 0
            assert urllib3.request("GET", f"{url}/healthz").status == 200
        finally:
            server.terminate()
        assert server.wait() == 0


# -- compose -------------------------------------------------------------------------------------


def test_the_compose_file_is_valid() -> None:
    """By the models made of the Compose specification's schema, unknown keys refused."""
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    ComposeSpecification.model_validate(compose, extra="forbid")
    services = compose["services"]
    assert services["postgres"]["profiles"] == ["postgres"]
    assert "profiles" not in services["redis"]
    assert services["gateway"]["read_only"] is True
    known = set(re.findall(r"\$\{(\w+)", (DEPLOY / "likewise.yaml").read_text("utf-8")))
    given = set(services["gateway"]["environment"]) - {"LIKEWISE_STORE_PASSWORD"}
    assert given <= known
    with pytest.raises(ValueError, match="surely_not"):
        ComposeSpecification.model_validate({**compose, "surely_not": 1}, extra="forbid")


# -- the chart -----------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [{}, FULL, {"persistence.enabled": "true"}])
def test_the_chart_is_clean(helm: str, values: dict[str, Any]) -> None:
    """By ``helm lint --strict``."""
    given = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    done = run(helm, "lint", "--strict", str(CHART), *given)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_chart_by_default(helm: str) -> None:
    """One pod without rights, on a root that it cannot write, with a valid configuration."""
    found = rendered(helm, {})
    kinds = sorted(each["kind"] for each in found)
    assert kinds == ["ConfigMap", "Deployment", "Service", "ServiceAccount"]
    config = of_kind(found, "ConfigMap")["data"]["likewise.yaml"]
    assert parse(yaml.safe_load(config)).settings.store == "sqlite:////data/likewise.db"
    spec = of_kind(found, "Deployment")["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert str(spec["securityContext"]["runAsUser"]) in DOCKERFILE
    assert spec["automountServiceAccountToken"] is False
    (container,) = spec["containers"]
    assert container["image"] == f"likewise:{likewise.__version__}"
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    paths = {n: container[n]["httpGet"]["path"] for n in container if n.endswith("Probe")}
    assert paths == {
        "startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz",
    }  # fmt: skip
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in spec["volumes"]}


def test_the_chart_with_everything(helm: str) -> None:
    """Each part is there, and finds the pods."""
    found = rendered(helm, FULL)
    deployment = of_kind(found, "Deployment")
    assert "replicas" not in deployment["spec"]  # the autoscaler's business
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [
        of_kind(found, "Service")["spec"]["selector"],
        deployment["spec"]["selector"]["matchLabels"],
        of_kind(found, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        of_kind(found, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)
    scaled = of_kind(found, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"]
    assert scaled == deployment["metadata"]["name"]
    assert of_kind(found, "ServiceMonitor")["spec"]["endpoints"][0]["path"] == "/metrics"
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert container["args"][-1] == "2"
    assert "checksum/config" in deployment["spec"]["template"]["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"replicas": 2}, "several replicas need a store that they share"),
        ({"workers": 2, "config.store": "memory://"}, "workers cannot share memory://"),
        (
            {"replicas": 2, "config.store": "redis://r", "persistence.enabled": "true"},
            "several replicas cannot share a claim",
        ),
        ({"replica": 2}, "replica"),
        ({"workers": 0}, "workers"),
    ],
)
def test_what_would_not_work_is_refused(helm: str, values: dict[str, Any], message: str) -> None:
    """Before it is installed."""
    given = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    done = run(helm, "template", "r", str(CHART), *given)
    assert done.returncode != 0
    assert message in done.stderr


def test_every_value_is_in_the_schema() -> None:
    """And nothing else."""
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    assert {*values, "global"} == set(schema["properties"])


# -- systemd -------------------------------------------------------------------------------------


def test_the_unit(tmp_path: Path) -> None:
    """Nothing that systemd does not know, little that it could do to others."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze")
    unit = tmp_path / "likewise.service"
    # Its program is not installed where it says.
    unit.write_text(UNIT.replace("/opt/likewise/bin/likewise", "/bin/true"))
    done = run("systemd-analyze", "verify", unit)
    assert (done.returncode, done.stderr) == (0, "")
    security = run("systemd-analyze", "security", "--offline=true", "--threshold=20", unit)
    assert security.returncode == 0, security.stdout[-300:]


def test_the_unit_sets_what_the_configuration_reads() -> None:
    """Its variables are those of ``likewise.yaml``."""
    known = set(re.findall(r"\$\{(\w+)", (DEPLOY / "likewise.yaml").read_text("utf-8")))
    given = set(re.findall(r"^Environment=(LIKEWISE_\w+)", UNIT, re.MULTILINE))
    assert given - known == {"LIKEWISE_CACHE_DIR"}
