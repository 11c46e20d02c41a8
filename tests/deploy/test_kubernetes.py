"""The manifests: pods without rights, probes that ask the right thing, bounds, nothing secret, nothing unpinned."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from recado.db.work import SERVED
from tests.contracts.test_imports import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
ALL: list[dict[str, Any]] = [
    one for name in KUSTOMIZATION["resources"] for one in yaml.safe_load_all((FOLDER / name).read_text())
]


def kind(name: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in ALL if one["kind"] == name}


DEPLOYMENTS = kind("Deployment")
PODS = {name: one["spec"]["template"]["spec"] for name, one in {**DEPLOYMENTS, **kind("Job")}.items()}


def container(name: str) -> dict[str, Any]:
    [one] = PODS[name]["containers"]
    return dict(one)


def test_every_manifest_is_applied() -> None:
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert files == set(KUSTOMIZATION["resources"])
    assert PODS.keys() == {"recado-api", "recado-worker", "recado-media", "recado-migrate"}


@pytest.mark.parametrize("name", PODS)
def test_a_pod_has_no_right_and_writes_only_to_its_own_volumes(name: str) -> None:
    pod, inner = PODS[name], container(name)
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    context = pod["securityContext"]
    assert (context["runAsNonRoot"], context["runAsUser"], context["runAsGroup"]) == (True, 10001, 10001)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inner["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    for volume in pod["volumes"]:
        assert volume.keys() & {"secret", "emptyDir"}, volume
        if "emptyDir" in volume:
            assert "sizeLimit" in volume["emptyDir"]
    [namespace] = kind("Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("name", PODS)
def test_a_pod_says_what_it_needs_and_what_it_may_take(name: str) -> None:
    resources = container(name)["resources"]
    assert {"cpu", "memory", "ephemeral-storage"} <= resources["requests"].keys()
    assert {"memory", "ephemeral-storage"} <= resources["limits"].keys()


@pytest.mark.parametrize("name", PODS)
def test_secrets_are_files_and_each_pod_has_only_its_own(name: str) -> None:
    pod, inner = PODS[name], container(name)
    assert "secretRef" not in str(inner["envFrom"])
    for variable in inner.get("env", ()):
        assert variable["value"].startswith("file:/run/secrets/"), variable
    files = {item["key"] for volume in pod["volumes"] for item in volume.get("secret", {}).get("items", ())}
    worker = name in ("recado-worker", "recado-media")
    assert files == {"database_url", "platform_url", "secret_keys"} | ({"openai_api_key"} if worker else set())
    used = {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
    assert used == {"recado", *(["recado-migrate"] if name == "recado-migrate" else [])}
    assert all(mount["readOnly"] for mount in inner["volumeMounts"] if mount["mountPath"].startswith("/run/secrets"))


def test_no_secret_is_committed() -> None:
    assert kind("Secret") == {}
    text = "\n".join(path.read_text() for path in FOLDER.glob("*.yaml"))
    assert re.search(r"://[^/\s]+:[^/\s]+@", text) is None
    [config] = kind("ConfigMap").values()
    for name, value in config["data"].items():
        if name in ("RECADO_DATABASE_URL", "RECADO_PLATFORM_URL", "RECADO_SECRET_KEYS"):
            assert value.startswith("file:/run/secrets/recado/")


def test_images_are_set_by_digest_and_none_starts_before_it_is() -> None:
    images = {one["name"]: one for one in KUSTOMIZATION["images"]}
    assert {container(name)["image"] for name in PODS} == images.keys()
    for image in images.values():
        assert re.fullmatch(r"sha256:0{64}", image["digest"])
        assert "newTag" not in image


def test_the_api_is_alive_without_its_database_and_ready_when_it_can_accept() -> None:
    api = container("recado-api")
    assert api["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert api["startupProbe"]["httpGet"]["path"] == "/livez"
    assert api["readinessProbe"]["httpGet"]["path"] == "/readyz"
    for name in ("recado-worker", "recado-media"):
        assert container(name)["livenessProbe"]["exec"]["command"] == ["recado", "health", "--live"]
        assert "readinessProbe" not in container(name), "nobody sends it anything"


def test_what_stops_has_time_to() -> None:
    for name in DEPLOYMENTS:
        pause = container(name).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert PODS[name]["terminationGracePeriodSeconds"] >= 25 + pause
    assert container("recado-api")["lifecycle"]["preStop"] == {"sleep": {"seconds": 5}}


def test_a_drained_node_leaves_one_of_each_and_an_update_takes_none_away_first() -> None:
    budgets = {
        one["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"]: one
        for one in kind("PodDisruptionBudget").values()
    }
    for name, deployment in DEPLOYMENTS.items():
        budget = budgets[name.removeprefix("recado-")]["spec"]
        # With a single one `minAvailable` would let no node be drained.
        assert budget["minAvailable" if deployment["spec"]["replicas"] > 1 else "maxUnavailable"] == 1
        assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert DEPLOYMENTS["recado-api"]["spec"]["replicas"] == DEPLOYMENTS["recado-worker"]["spec"]["replicas"] == 2


def test_every_queue_is_served() -> None:
    queues = [container(name)["args"][2].split(",") for name in ("recado-worker", "recado-media")]
    assert sorted(queue for served in queues for queue in served) == sorted(SERVED)


def test_only_webhooks_and_the_api_are_reached_from_outside() -> None:
    [ingress] = kind("Ingress").values()
    [rule] = ingress["spec"]["rules"]
    assert {path["path"] for path in rule["http"]["paths"]} == {"/channels/twilio/", "/v1/"}
    assert ingress["spec"]["tls"]
    [service] = kind("Service").values()
    assert [port["port"] for port in service["spec"]["ports"]] == [8000]
    policies = kind("NetworkPolicy")
    assert policies["recado"]["spec"]["policyTypes"] == ["Ingress", "Egress"]
    [door] = policies["recado-api"]["spec"]["ingress"]
    assert [port["port"] for port in door["ports"]] == [8000]


def test_selectors_find_what_they_mean() -> None:
    for deployment in DEPLOYMENTS.values():
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    [service] = kind("Service").values()
    assert (
        service["spec"]["selector"].items()
        <= DEPLOYMENTS["recado-api"]["spec"]["template"]["metadata"]["labels"].items()
    )
