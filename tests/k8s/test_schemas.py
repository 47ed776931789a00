"""What is applied is what was meant: manifests keep the schemas of Kubernetes and of both KubeRay releases."""

import copy
from collections.abc import Callable
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

Manifest = dict[str, Any]
KUBERNETES = ("1.32", "1.37")


def check(manifest: Manifest, custom_schemas: dict[str, dict[str, Manifest]]) -> None:
    if manifest["apiVersion"] == "ray.io/v1":
        for schemas in custom_schemas.values():
            jsonschema.Draft202012Validator(schemas[manifest["kind"]]).validate(manifest)
    else:
        for version in KUBERNETES:
            kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("overlay", ["base", "dev", "gpu"])
def test_every_manifest_is_one_that_its_schemas_accept(overlay: str, render: Callable[..., Any], custom_schemas: Any) -> None:
    assert set(custom_schemas) == {"v1.6.2", "v1.7.0"}
    kinds = {manifest["kind"] for manifest in render(overlay)}
    assert {"Namespace", "NetworkPolicy", "RayCluster", "RayJob", "RayService", "ServiceAccount"} <= kinds
    assert "ConfigMap" not in kinds, "texts are copied into the manifests, not applied beside them"
    for manifest in render(overlay):
        check(manifest, custom_schemas)


@pytest.mark.parametrize(
    ("kind", "path", "wrong"),
    [
        ("RayService", "spec.excludeHeadPodFromServeSvc", "excludeHeadPodFromServeSVC"),
        ("RayService", "spec.rayClusterConfig.headGroupSpec.template.spec.securityContext.runAsNonRoot", "runAsNonroot"),
        ("RayService", "spec.rayClusterConfig.workerGroupSpecs.0.template.metadata.labels", "label"),
        ("RayCluster", "spec.workerGroupSpecs.0.maxReplicas", "maxReplica"),
        ("RayCluster", "spec.headGroupSpec.template.spec.containers.0.volumeMounts.0.mountPath", "path"),
        ("RayJob", "spec.backoffLimit", "backOffLimit"),
        ("NetworkPolicy", "spec.policyTypes", "policyType"),
        ("PodDisruptionBudget", "spec.minAvailable", "minavailable"),
        ("ServiceAccount", "automountServiceAccountToken", "autoMountServiceAccountToken"),
    ],
)
def test_a_misspelled_field_is_refused(kind: str, path: str, wrong: str, render: Callable[..., Any], custom_schemas: Any) -> None:
    manifest = copy.deepcopy(next(one for one in render("gpu") if one["kind"] == kind))
    *parents, last = path.split(".")
    place: Any = manifest
    for name in parents:
        place = place[int(name) if name.isdigit() else name]
    place[wrong] = place.pop(last)
    with pytest.raises(jsonschema.ValidationError, match=wrong):
        check(manifest, custom_schemas)


def test_a_value_of_the_wrong_kind_is_refused(render: Callable[..., Any], custom_schemas: Any) -> None:
    manifest = copy.deepcopy(next(one for one in render("gpu") if one["kind"] == "RayService"))
    manifest["spec"]["rayClusterConfig"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0
    with pytest.raises(jsonschema.ValidationError, match="not of type 'string'"):
        check(manifest, custom_schemas)
