"""The manifests for Kubernetes name nothing that is not there, and give what runs the time and the room that it takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.routes import health
from driftline.processes.plan import APP_STOP_SECONDS, WORKER_STOP_SECONDS
from driftline.settings import Settings
from worker.probes import PATHS

ROOT = Path(__file__).parents[1]
MANIFESTS = ROOT / "deploy" / "kubernetes"
PAGE = ROOT / "docs" / "kubernetes.md"
UNITS = {"m": 0.001, "": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def objects() -> Iterator[dict[str, Any]]:
    for file in sorted(MANIFESTS.rglob("*.yaml")):
        yield from yaml.safe_load_all(file.read_text())


def mappings(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in a manifest, the outermost first."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from mappings(inner)


def quantity(text: str) -> float:
    """A quantity of Kubernetes as a number.

    >>> quantity("500m"), quantity("2Gi")
    (0.5, 2147483648.0)
    """
    number, unit = re.fullmatch(r"([\d.]+)(\w*)", text).groups()  # type: ignore[union-attr]
    return float(number) * UNITS[unit]


def literals() -> dict[str, set[str]]:
    """Every value that the maps of the manifests give a variable."""
    found: dict[str, set[str]] = {}
    for each in objects():
        for generator in each.get("configMapGenerator", []):
            for literal in generator["literals"]:
                name, _, value = literal.partition("=")
                found.setdefault(name, set()).add(value)
    return found


def variables() -> set[str]:
    named = {each["name"] for value in objects() for env in mappings(value) for each in env.get("env") or []}
    return {name for name in [*named, *literals()] if name.startswith("DRIFTLINE_")}


def pods() -> dict[str, dict[str, Any]]:
    """The template of each part's pods."""
    found = [each["spec"]["template"] for each in objects() if each.get("kind") in ("Deployment", "StatefulSet")]
    return {each["metadata"]["labels"]["app.kubernetes.io/component"]: each["spec"] for each in found}


OURS = ("app", "worker")


def test_every_variable_is_a_setting_and_every_value_one_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {name.removeprefix("DRIFTLINE_").lower() for name in variables()} <= set(Settings.model_fields)
    for name, values in literals().items():
        for value in values:
            monkeypatch.setenv(name, value)
            Settings()


@pytest.mark.parametrize(("part", "setting"), [("app", "DRIFTLINE_PORT"), ("worker", "DRIFTLINE_WORKER_PORT")])
def test_every_probe_asks_for_what_the_process_answers(part: str, setting: str) -> None:
    (container,) = pods()[part]["containers"]
    ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
    answered = {route.path for route in health.router.routes} if part == "app" else PATHS  # type: ignore[attr-defined]
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]
    assert [probe["path"] for probe in probes] == ["/livez", "/readyz", "/livez"]
    assert {probe["path"] for probe in probes} <= answered
    assert {ports[probe["port"]] for probe in probes} == literals()[setting]


def test_every_port_that_a_service_a_policy_or_a_scrape_names_is_a_pods() -> None:
    there = {port["name"] for pod in pods().values() for port in pod["containers"][0]["ports"]}
    named = {
        value
        for each in objects()
        if each.get("kind") in ("Service", "NetworkPolicy", "PodMonitor")
        for mapping in mappings(each)
        for key in ("targetPort", "port")
        if isinstance(value := mapping.get(key), str)
    }
    assert named == there


def test_a_process_may_take_as_long_to_end_as_it_does_anywhere() -> None:
    for part, seconds in zip(OURS, (APP_STOP_SECONDS, WORKER_STOP_SECONDS), strict=True):
        waits = pods()[part]["containers"][0].get("lifecycle", {}).get("preStop", {}).get("exec", {})
        before = float(waits["command"][1]) if waits else 0.0
        assert pods()[part]["terminationGracePeriodSeconds"] >= before + seconds, part


def test_what_a_process_may_write_has_room_in_its_volumes() -> None:
    (cache,) = literals()["DRIFTLINE_ARTIFACT_CACHE_BYTES"]
    for part in OURS:
        sizes = {each["name"]: each["emptyDir"]["sizeLimit"] for each in pods()[part]["volumes"] if "emptyDir" in each}
        assert quantity(sizes["data"]) > float(cache)
        assert quantity(sizes["tmp"]) > Settings().max_weights_bytes, "weights that are uploaded go there first"


def test_the_store_has_room_for_the_rewrite_of_its_file() -> None:
    (container,) = pods()["valkey"]["containers"]
    (maximum,) = re.findall(r"--maxmemory (\d+)gb", container["command"][2])
    assert 2 * int(maximum) * 2**30 <= quantity(container["resources"]["limits"]["memory"])
    assert "--appendonly yes --appendfsync always" in container["command"][2]


def test_a_service_sets_no_variable_of_ours() -> None:
    assert not any(pod["enableServiceLinks"] for pod in pods().values()), "DRIFTLINE_PORT would be tcp://…"


def test_pods_run_as_the_user_of_the_image_which_has_what_an_object_store_needs() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert {str(pods()[part]["securityContext"]["runAsUser"]) for part in OURS} == set(
        re.findall(r"useradd --uid (\d+)", dockerfile)
    )
    (extras,) = re.findall(r"ARG EXTRAS=(\S+)", dockerfile)
    assert "object-store" in extras.split(",")


def test_the_page_names_every_overlay_component_and_secret() -> None:
    text = PAGE.read_text()
    secrets = {
        name
        for each in objects()
        for mapping in mappings(each)
        for key in ("secretKeyRef", "secretRef", "secret", "credentials")
        if isinstance(inner := mapping.get(key), dict) and (name := inner.get("name") or inner.get("secretName"))
    }
    assert secrets == {"driftline-store", "driftline-keys", "driftline-object-store", "driftline-metrics"}
    folders = {f"{file.parent.parent.name}/{file.parent.name}" for file in MANIFESTS.glob("*/*/kustomization.yaml")}
    assert {name for name in secrets | folders if name not in text} == set()
