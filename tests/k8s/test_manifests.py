"""What the manifests promise: restricted pods, closed networks, each text written once, and one that its reader accepts."""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.client.dashboard import RAY_VERSION
from cluster.client.jobs import CONFIG, ENTRYPOINT, KIND, RELEASE
from cluster.job import KINDS
from common.config import parse
from serve_app.app import STOPPING_S
from serve_app.config import ServeConfig
from serve_app.deploy_check import DEPLOYMENTS, check

ROOT = Path(__file__).resolve().parents[2]
RELEASED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
LONGEST_NAME = 47
"""Of a RayService or RayJob (KubeRay's constant.go); the operator adds what makes a cluster's and a pod's name."""
GUIDE = "docs/deploy.md"
BROUGHT = {"kube-root-ca.crt"}
"""Kubernetes puts it into every namespace."""

Manifest = dict[str, Any]
Render = Callable[[str], list[Manifest]]
both = pytest.mark.parametrize("overlay", ["dev", "gpu"])


def of_kind(manifests: list[Manifest], kind: str, name: str | None = None) -> Manifest:
    (found,) = (one for one in manifests if one["kind"] == kind and name in (None, one["metadata"]["name"]))
    return found


def clusters(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Each Ray cluster there is, with the name of what owns it."""
    for one in manifests:
        if one["apiVersion"] == "ray.io/v1":
            spec = one["spec"]
            yield one["metadata"]["name"], spec.get("rayClusterConfig") or spec.get("rayClusterSpec") or spec


def pods(cluster: Manifest) -> Iterator[Manifest]:
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        yield group["template"]


def walk(node: Any) -> Iterator[Manifest]:
    """Every mapping in it."""
    if isinstance(node, dict):
        yield node
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(inner)


@both
def test_every_container_is_restricted(overlay: str, render: Render) -> None:
    manifests = render(overlay)
    assert of_kind(manifests, "Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for owner, cluster in clusters(manifests):
        contexts = [cluster["autoscalerOptions"]["securityContext"]] if cluster.get("enableInTreeAutoscaling") else []
        for pod in (template["spec"] for template in pods(cluster)):
            assert pod["securityContext"]["runAsNonRoot"] is True, owner
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, owner
            assert pod["securityContext"]["runAsUser"] == 1000, "the image's user"
            assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), owner
            assert not [volume for volume in pod["volumes"] if "hostPath" in volume], owner
            for container in pod["containers"] + pod.get("initContainers", []):
                contexts.append(container["securityContext"])
                writable = {mount["mountPath"] for mount in container["volumeMounts"]}
                assert {"/tmp", "/home/liyou"} <= writable, "Ray's sessions and what libraries keep at home"
        for context in contexts:
            assert context["allowPrivilegeEscalation"] is False, owner
            assert context["readOnlyRootFilesystem"] is True, owner
            assert context["capabilities"] == {"drop": ["ALL"]}, owner


@both
def test_pods_get_no_token_of_the_api_server_but_the_autoscaler(overlay: str, render: Render) -> None:
    manifests = render(overlay)
    assert of_kind(manifests, "ServiceAccount")["automountServiceAccountToken"] is False
    for owner, cluster in clusters(manifests):
        for template in pods(cluster):
            assert template["spec"]["automountServiceAccountToken"] is False, owner
            assert template["spec"]["serviceAccountName"] == of_kind(manifests, "ServiceAccount")["metadata"]["name"]
            for container in template["spec"]["containers"]:
                assert "api-token" not in {mount["name"] for mount in container["volumeMounts"]}, owner
        if cluster.get("enableInTreeAutoscaling"):
            mounts = {mount["name"]: mount["mountPath"] for mount in cluster["autoscalerOptions"]["volumeMounts"]}
            assert mounts["api-token"] == "/var/run/secrets/kubernetes.io/serviceaccount"
            assert set(mounts) <= {volume["name"] for volume in cluster["headGroupSpec"]["template"]["spec"]["volumes"]}


@both
def test_ray_asks_for_its_token_everywhere(overlay: str, render: Render) -> None:
    for owner, cluster in clusters(render(overlay)):
        assert cluster["authOptions"] == {"mode": "token", "secretName": "liyou-ray-token"}, owner
        assert cluster["rayVersion"] == RAY_VERSION, owner


@both
def test_what_a_policy_does_not_name_is_closed(overlay: str, render: Render) -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in render(overlay) if one["kind"] == "NetworkPolicy"}
    assert policies["deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    from_outside = [
        (sorted(peer["namespaceSelector"]["matchLabels"]), [entry["port"] for entry in rule["ports"]])
        for spec in policies.values()
        for rule in spec.get("ingress", [])
        for peer in rule["from"]
        if "namespaceSelector" in peer
    ]
    assert sorted(from_outside) == [(["kubernetes.io/metadata.name"], [8265, 8000]), (["liyou-storefront"], [8000])]
    anywhere = {name for name, spec in policies.items() for rule in spec.get("egress", []) if "to" not in rule}
    assert anywhere == (set() if overlay == "dev" else {"s3", "redis", "autoscaler-to-api-server"})
    assert all("ports" in rule for name in anywhere for rule in policies[name]["egress"])
    labels = {"app.kubernetes.io/part-of": "liyou"}
    assert all(template["metadata"]["labels"] == labels for _, cluster in clusters(render(overlay)) for template in pods(cluster))


@both
def test_pods_are_written_once(overlay: str, render: Render) -> None:
    manifests = render(overlay)
    groups = [(cluster["headGroupSpec"], cluster["workerGroupSpecs"]) for _, cluster in clusters(manifests)]
    assert len(groups) == 4
    assert all(one == groups[0] for one in groups)
    assert groups[0][0]["rayStartParams"]["num-cpus"] == "0"
    for base in (ROOT / "k8s" / "base").glob("*.yaml"):
        assert ("headGroupSpec" in base.read_text(encoding="utf-8")) == (base.name == "cluster.yaml"), base.name


@both
def test_nothing_but_the_service_starts_when_an_overlay_is_applied(overlay: str, render: Render) -> None:
    suspended = {one["metadata"]["name"]: one["spec"].get("suspend") for one in render(overlay) if one["apiVersion"] == "ray.io/v1"}
    assert suspended == {"liyou": None, "liyou-cluster": True, "liyou-train": True, "liyou-tune": True}


@both
def test_the_service_has_the_text_that_liyou_deploy_takes(overlay: str, render: Render) -> None:
    file = ROOT / "k8s" / "overlays" / overlay / "serve.yaml"
    assert of_kind(render(overlay), "RayService")["spec"]["serveConfigV2"] == file.read_text(encoding="utf-8")
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    check(document, source=str(file))
    assert document["http_options"]["host"] == "0.0.0.0"
    (application,) = document["applications"]
    assert application["import_path"] == "serve_app.app:build"


def test_the_serve_file_beside_the_overlays_is_the_one_with_a_registry() -> None:
    file = ROOT / "k8s" / "serve.yaml"
    assert file.resolve() == ROOT / "k8s" / "overlays" / "gpu" / "serve.yaml"
    config = parse(yaml.safe_load(file.read_text(encoding="utf-8"))["applications"][0]["args"], ServeConfig, source=str(file))
    assert (config.registry or "").startswith("s3://")
    assert config.bundle == "prod"
    assert config.generator.on == "cuda"


@both
def test_a_pod_that_is_told_to_stop_has_time_for_the_longest_page_and_an_old_cluster_too(overlay: str, render: Render) -> None:
    service = of_kind(render(overlay), "RayService")["spec"]
    args = yaml.safe_load(service["serveConfigV2"])["applications"][0]["args"]
    needed_s = parse(args, ServeConfig, source=overlay).http.longest_s + STOPPING_S
    for group in service["rayClusterConfig"]["workerGroupSpecs"]:
        assert group["template"]["spec"]["terminationGracePeriodSeconds"] > needed_s
    assert service["rayClusterDeletionDelaySeconds"] > needed_s


def offered(cluster: Manifest, *, replicas: str) -> dict[str, float]:
    """What Ray has to give: the limits of so many workers, since the head gives nothing."""
    total: Counter[str] = Counter()
    for group in cluster["workerGroupSpecs"]:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        total["CPU"] += group[replicas] * int(limits["cpu"])
        total["GPU"] += group[replicas] * int(limits.get("nvidia.com/gpu", 0))
    return dict(total)


@both
@pytest.mark.parametrize(("replicas", "bound"), [("minReplicas", "min_replicas"), ("maxReplicas", "max_replicas")])
def test_the_workers_have_room_for_the_replicas(overlay: str, replicas: str, bound: str, render: Render) -> None:
    service = of_kind(render(overlay), "RayService")["spec"]
    args = yaml.safe_load(service["serveConfigV2"])["applications"][0]["args"]
    config = parse(args, ServeConfig, source=overlay)
    asked: Counter[str] = Counter()
    for deployment in (getattr(config, name) for name in DEPLOYMENTS):
        asked["CPU"] += getattr(deployment.replicas, bound) * deployment.resources.num_cpus
        asked["GPU"] += getattr(deployment.replicas, bound) * deployment.resources.num_gpus
    there = offered(service["rayClusterConfig"], replicas=replicas)
    assert all(asked[name] <= there[name] for name in there), f"{dict(asked)} asked for, {there} there"


@both
@pytest.mark.parametrize("kind", ["train", "tune"])
def test_a_job_is_one_that_the_jobs_driver_takes_and_the_workers_have_room_for(overlay: str, kind: str, render: Render) -> None:
    job = of_kind(render(overlay), "RayJob", f"liyou-{kind}")["spec"]
    assert job["entrypoint"] == ENTRYPOINT
    assert (job["metadata"][KIND], job["metadata"][RELEASE]) == (kind, RELEASED)
    assert job["metadata"][CONFIG] == (ROOT / "k8s" / "overlays" / overlay / f"{kind}.json").read_text(encoding="utf-8")
    config = parse(json.loads(job["metadata"][CONFIG]), KINDS[kind].model, source=kind)
    there = offered(job["rayClusterSpec"], replicas="minReplicas")
    needs = KINDS[kind].needs(config)
    assert all(amount <= there[name] for name, amount in needs.items()), f"{needs} asked for, {there} there"


@both
def test_the_image_is_this_release(overlay: str, render: Render) -> None:
    images = {one["image"] for one in walk(render(overlay)) if "image" in one}
    assert images == {f"liyou:{RELEASED}" if overlay == "dev" else f"liyou:{RELEASED}-cuda"}


@both
def test_names_fit(overlay: str, render: Render) -> None:
    for one in render(overlay):
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", one["metadata"]["name"]), one["metadata"]["name"]
        assert len(one["metadata"]["name"]) <= LONGEST_NAME
        assert one["kind"] == "Namespace" or one["metadata"]["namespace"] == "liyou"


@both
def test_what_is_referenced_is_applied_or_the_guide_says_how_to_make_it(overlay: str, render: Render) -> None:
    manifests = render(overlay)
    applied = {(one["kind"], one["metadata"]["name"]) for one in manifests}
    made = re.findall(r"kubectl -n liyou create secret generic (\S+)((?: --from-\S+)+)", (ROOT / GUIDE).read_text(encoding="utf-8"))
    secrets = {name: set(re.findall(r"--from-(?:file|literal)=([^\s=]+)", keys)) for name, keys in made}
    for node in walk(manifests):
        if name := node.get("secretName"):
            assert name in secrets, f"{name}: {GUIDE} creates {sorted(secrets)}"
        if reference := node.get("secretKeyRef"):
            assert reference["key"] in secrets[reference["name"]], reference
        if claim := node.get("claimName"):
            assert ("PersistentVolumeClaim", claim) in applied
        if isinstance(node.get("configMap"), dict):
            assert node["configMap"]["name"] in BROUGHT
        if str(node.get("value", "")).startswith("/etc/liyou/s3/"):
            assert node["value"].rpartition("/")[2] in secrets["liyou-s3"], node
    assert "auth_token" in secrets["liyou-ray-token"], "the key that KubeRay reads"


def test_no_secret_stands_in_a_manifest(render: Render) -> None:
    assert not [one for overlay in ("dev", "gpu") for one in render(overlay) if one["kind"] in ("Secret", "ConfigMap")]
