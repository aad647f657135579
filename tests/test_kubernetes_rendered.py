"""The overlays for Kubernetes, rendered: objects that the cluster takes, hardened, and pods that run as they say."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import pytest
import yaml
from redis import Redis

from driftline.api_keys import KeyStore
from driftline.client.clients import Client
from tests import forked
from tests.ports import free_port, missing
from tests.services import spec
from tests.test_kubernetes import MANIFESTS, OURS, mappings, quantity
from tests.waiting import SECONDS, until

OVERLAYS = ("one-node", "large", "ray")
SCHEMAS = Path(__file__).parent / "fixtures" / "schemas"
RELEASE = "1.33"


@cache
def rendered(kubectl: str, overlay: str) -> list[dict[str, Any]]:
    command = [kubectl, "kustomize", str(MANIFESTS / "overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(params=OVERLAYS)
def overlay(kubectl: str, request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return rendered(kubectl, request.param)


def workloads(overlay: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in overlay if "template" in each.get("spec", {})}


def ray_groups(overlay: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The head and the nodes of a Ray cluster, by the name of their container."""
    specs = [each["spec"] for each in overlay if each["kind"] == "RayCluster"]
    groups = [group for spec in specs for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]
    return {group["template"]["spec"]["containers"][0]["name"]: {"spec": group} for group in groups}


def all_pods(overlay: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return workloads(overlay) | ray_groups(overlay)


def test_the_cluster_would_take_every_object(overlay: list[dict[str, Any]]) -> None:
    try:
        import kubernetes_validate
    except ImportError:
        missing("kubernetes-validate")
    for each in overlay:
        schema = SCHEMAS / f"{each['kind']}.yaml"
        if schema.exists():
            jsonschema.validate(each, yaml.safe_load(schema.read_text()))
        else:
            kubernetes_validate.validate(each, RELEASE, strict=True)
    for name, group in ray_groups(overlay).items():
        pods = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": name}}
        kubernetes_validate.validate(pods | {"template": group["spec"]["template"]}, RELEASE, strict=True)


def test_whatever_an_object_refers_to_is_there(overlay: list[dict[str, Any]]) -> None:
    there = {(each["kind"], each["metadata"]["name"]) for each in overlay}
    assert len(there) == len(overlay)
    for each in overlay:
        assert each["kind"] == "Namespace" or each["metadata"]["namespace"] == "driftline", each["metadata"]
        for mapping in mappings(each):
            if isinstance(target := mapping.get("scaleTargetRef"), dict):
                assert (target["kind"], target["name"]) in there
            if isinstance(source := mapping.get("configMapRef"), dict):
                assert ("ConfigMap", source["name"]) in there
            if isinstance(claim := mapping.get("persistentVolumeClaim"), dict):
                assert ("PersistentVolumeClaim", claim["claimName"]) in there
            if "serviceName" in mapping:
                assert ("Service", mapping["serviceName"]) in there


def test_whoever_scales_a_workload_decides_alone(overlay: list[dict[str, Any]]) -> None:
    scaled = {each["spec"]["scaleTargetRef"]["name"] for each in overlay if "scaleTargetRef" in each.get("spec", {})}
    assert {name for name, each in workloads(overlay).items() if "replicas" not in each["spec"]} == scaled


def test_every_selector_finds_pods_and_no_pod_is_without_a_policy(overlay: list[dict[str, Any]]) -> None:
    labels = {name: each["spec"]["template"]["metadata"]["labels"] for name, each in all_pods(overlay).items()}
    covered = set()
    for each in overlay:
        inner = each.get("spec", {})
        selector = {"Service": inner.get("selector"), "NetworkPolicy": inner.get("podSelector")}.get(each["kind"])
        if each["kind"] in ("PodDisruptionBudget", "PodMonitor"):
            selector = inner["selector"]
        if selector is None:
            continue
        found = {name for name, own in labels.items() if is_selected(selector, own)}
        assert found, each["metadata"]["name"]
        if each["kind"] == "NetworkPolicy" and set(inner["policyTypes"]) == {"Ingress", "Egress"}:
            covered |= found
    assert covered == set(labels)


def is_selected(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    plain = selector.get("matchLabels", {} if "matchExpressions" in selector else selector)
    expressions = selector.get("matchExpressions", [])
    return plain.items() <= labels.items() and all(labels.get(each["key"]) in each["values"] for each in expressions)


def test_no_pod_is_root_or_may_become_it_or_writes_beside_its_volumes(overlay: list[dict[str, Any]]) -> None:
    for each in all_pods(overlay).values():
        pod = each["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            claims = each["spec"].get("volumeClaimTemplates", [])
            assert mounted == {volume["name"] for volume in pod.get("volumes", [])} | {
                claim["metadata"]["name"] for claim in claims
            }


def test_jobs_reach_the_ray_cluster_that_is_there_and_its_nodes_hold_no_secret(kubectl: str) -> None:
    overlay = rendered(kubectl, "ray")
    (cluster,) = (each for each in overlay if each["kind"] == "RayCluster")
    (given,) = (each["data"] for each in overlay if each["kind"] == "ConfigMap")
    head, nodes = ray_groups(overlay).values()
    ports = {port["containerPort"] for port in head["spec"]["template"]["spec"]["containers"][0]["ports"]}
    host, _, port = given["DRIFTLINE_RAY_ADDRESS"].removeprefix("ray://").rpartition(":")
    # So KubeRay names the service of a head.
    assert host == f"{cluster['metadata']['name']}-head-svc" and int(port) in ports
    assert given["DRIFTLINE_ENGINE"] == "ray"
    for group in (head, nodes):
        (container,) = group["spec"]["template"]["spec"]["containers"]
        assert "env" not in container and "envFrom" not in container
        memory = next(each for each in group["spec"]["template"]["spec"]["volumes"] if each["name"] == "shared")
        store = float(group["spec"]["rayStartParams"]["object-store-memory"])
        assert store < quantity(memory["emptyDir"]["sizeLimit"])
    cores = nodes["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"]
    assert quantity(cores) == float(nodes["spec"]["rayStartParams"]["num-cpus"])


def test_prometheus_understands_what_the_scaler_asks(kubectl: str, promtool: str, tmp_path: Path) -> None:
    (scaler,) = (each for each in rendered(kubectl, "large") if each["kind"] == "ScaledObject")
    queries = [trigger["metadata"]["query"] for trigger in scaler["spec"]["triggers"]]
    rules = [{"record": f"asked:{number}", "expr": query} for number, query in enumerate(queries)]
    series = [
        *lag("late", 90), *lag("half", 15), *lag("quiet", 0), *lag("paused", 900), *lag("broken", 900),
        *each_server('driftline_model_paused{%s,model="paused"}', 1),
        *each_server('driftline_alarms{%s,model="broken",kind="trainer_failed"}', 1),
        *each_server('driftline_alarms{%s,model="late",kind="drift"}', 1),
        *each_server('driftline_worker_load_ratio{%s,worker="a"}', 0.9),
        *each_server('driftline_worker_load_ratio{%s,worker="b"}', 0.5),
    ]  # fmt: skip
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "scaler", "rules": rules}]}))
    expected = [
        {"expr": "asked:0", "eval_time": "5m", "exp_samples": [{"labels": "asked:0", "value": 1.5}]},
        {"expr": "asked:1", "eval_time": "5m", "exp_samples": [{"labels": "asked:1", "value": 1.4}]},
    ]
    tests = [
        {"interval": "1m", "input_series": series, "promql_expr_test": expected},
        {  # Nothing waits, and nobody says how busy the workers are.
            "interval": "1m",
            "input_series": [],
            "promql_expr_test": [
                {"expr": "asked:0", "eval_time": "5m", "exp_samples": [{"labels": "asked:0", "value": 0}]},
                {"expr": "asked:1", "eval_time": "5m", "exp_samples": []},
            ],
        },
    ]
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "tests": tests}))
    command = [promtool, "test", "rules", str(tmp_path / "test.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def lag(model: str, seconds: float) -> Iterator[dict[str, Any]]:
    yield from each_server(f'driftline_lag_seconds{{%s,model="{model}"}}', seconds)
    yield from each_server(f'driftline_model_paused{{%s,model="{model}"}}', 0) if model != "paused" else ()


def each_server(series: str, value: float) -> Iterator[dict[str, Any]]:
    """What two servers tell of the same."""
    for pod in ("app-1", "app-2"):
        yield {"series": series % f'namespace="driftline",pod="{pod}"', "values": f"{value}x10"}


class Pod:
    """The one container of a pod, as processes of this machine: its variables, and a folder for each of its volumes."""

    def __init__(
        self, workload: dict[str, Any], overlay: list[dict[str, Any]], folder: Path, volumes: dict[str, Path], url: str
    ) -> None:
        self.spec = workload["spec"]["template"]["spec"]
        (self.container,) = self.spec["containers"]
        self.port = free_port()
        maps = {each["metadata"]["name"]: each["data"] for each in overlay if each["kind"] == "ConfigMap"}
        found: dict[str, str] = {}
        for source in self.container["envFrom"]:
            found |= maps[source["configMapRef"]["name"]] if "configMapRef" in source else {}
        for mount in self.container["volumeMounts"]:
            path = volumes.get(mount["name"], folder / mount["name"])
            path.mkdir(parents=True, exist_ok=True)
            found = {name: value.replace(mount["mountPath"], str(path)) for name, value in found.items()}
        of_pod = {"metadata.name": f"{workload['metadata']['name']}-0"}
        for each in self.container["env"]:
            source = each["valueFrom"]
            found[each["name"]] = of_pod[source["fieldRef"]["fieldPath"]] if "fieldRef" in source else url
        own = str(self.container["ports"][0]["containerPort"])
        ports = {name: str(self.port) for name, value in found.items() if value == own}
        self.env = found | ports | {"TMPDIR": str(folder / "tmp")}
        self.log = folder / "log"

    def start(self) -> forked.Process:
        """What its container runs."""
        command = ["-P", "-m", "driftline.cli", *self.container["args"]]
        with self.log.open("wb") as log:
            return forked.start(command, self.env, self.log.parent, log)

    def is_ready(self) -> bool:
        return self.probe("readiness") == 200

    def probe(self, kind: str) -> int:
        """The status that a probe is answered with; 0: it is not answered."""
        try:
            return self.answer(self.container[f"{kind}Probe"]["httpGet"]["path"]).status_code
        except httpx.TransportError:
            return 0

    def answer(self, path: str) -> httpx.Response:
        """As the kubelet asks: by the address of the pod, without a key."""
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", headers={"host": f"10.1.2.3:{self.port}"})


@pytest.mark.slow
def test_the_pods_of_one_node_are_ready_learn_and_end_in_order(kubectl: str, embedded: str, tmp_path: Path) -> None:
    overlay = rendered(kubectl, "one-node")
    shared = {name: tmp_path / name for name in ("artifacts", "keys")}
    key = KeyStore(shared["keys"] / "keys.json").create(["admin"], "admin")
    found = workloads(overlay)
    pods = [Pod(found[f"driftline-{part}"], overlay, tmp_path / part, shared, embedded) for part in OURS]
    with ExitStack() as stack:
        processes = [pod.start() for pod in pods]
        for process in processes:
            stack.callback(process.kill)
        for pod in pods:
            until(pod.is_ready)
            assert pod.probe("liveness") == pod.probe("startup") == 200
        client = stack.enter_context(Client(f"http://127.0.0.1:{pods[0].port}", key=key))
        client.create_model(spec("rendered"))
        rows = np.random.default_rng(0).normal(size=(64, 8)).tolist()
        client.feedback("rendered", [{"id": f"i{n}", "inputs": row, "label": 1} for n, row in enumerate(rows)])
        client.wait_served("rendered", "i63", timeout=SECONDS)
        assert pods[0].answer("/readyz").json()["alarms"] == []
        (worker,) = client.workers()
        assert worker["id"] == "driftline-worker-0" and worker["models"] == ["rendered"]
        client.delete_model("rendered")
        for process, pod in reversed(list(zip(processes, pods, strict=True))):
            process.terminate()
            # A server, once it has answered what had begun, ends by the signal that it was sent.
            assert process.wait(SECONDS) in (0, -signal.SIGTERM), pod.log.read_text()
            assert pod is pods[1] or "Application shutdown complete" in pod.log.read_text()
        assert Redis.from_url(embedded).hkeys("driftline:workers") == [], "it has given back what it owned"
