"""The application as it is wired, in one process: Serve's handles without a cluster. `test_graph.py` runs the same over HTTP."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.testclient import TestClient

from common import packs
from common.artifacts.registry import Registry
from common.artifacts.storage import open_storage
from common.contract.deadline import DeadlineLimits
from common.errors import BundleNotFound, ConfigError
from serve_app.app import build, deployment, pinned
from serve_app.config import AnswerConfig, GeneratorConfig, Replicas, Resources, ServeConfig
from serve_app.graph.ingress import Ingress
from serve_app.graph.replicas import FeaturesReplica, GeneratorReplica, QualityReplica
from serve_app.http.limits import HttpLimits

EARBUDS = {"product_id": "p1", "title": "静音蓝牙耳机", "category": "蓝牙耳机", "price": 299}


@pytest.fixture(scope="module")
def handle(tiny_bundle: Any) -> DeploymentHandle[Any]:
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    arguments = {"bundle": str(tiny_bundle.path), "producer": "test shop", "answer": {"expected_s": 0.05}}
    return serve.run(build(arguments), _local_testing_mode=True)


@pytest.fixture(scope="module")
def client(tiny_bundle: Any) -> Iterator[TestClient]:
    """The ingress's own ASGI app over handles to the three deployments behind it."""
    config = ServeConfig(bundle=str(tiny_bundle.path), producer="test shop", answer=AnswerConfig(expected_s=0.05))
    handles = [
        serve.run(deployment(replica, name, part.resources, part.replicas, longest_s=10).bind(config), name=name, _local_testing_mode=True)
        for name, replica, part in (
            ("features", FeaturesReplica, config.features),
            ("generator", GeneratorReplica, config.generator),
            ("quality", QualityReplica, config.quality),
        )
    ]
    with TestClient(Ingress(config, *handles).__serve_build_asgi_app__()) as client:
        yield client


def test_a_page_goes_through_features_generator_and_quality(client: TestClient, tiny_bundle: Any) -> None:
    page = {"items": [{"product": EARBUDS}, {"product_id": "gone"}, {"product": EARBUDS, "controls": {"style": "detailed"}}]}
    answer = client.post("/v1/reasons", json=page, headers={"x-request-id": "r-1"})
    body = answer.json()
    assert (answer.status_code, body["request_id"], body["bundle_id"], body["degraded"]) == (200, "r-1", tiny_bundle.bundle_id, True)
    assert "x-request-id" not in answer.headers, "Serve's proxy adds it"
    written, unknown, template = body["items"]
    assert (written["text"], written["source"], written["aigc"]["producer"]) == (tiny_bundle.sentence, "model", "test shop")
    assert written["verdict"]["score"] is not None
    assert unknown["error"]["code"] == "product_not_found"
    assert (template["source"], template["degraded"], template["aigc"]["label"]) == ("template", "no_candidate_accepted", 0)


def test_a_bad_code_crosses_the_hop_as_the_problem_it_is(client: TestClient) -> None:
    answer = client.post("/v1/reasons", json={"items": [{"product": EARBUDS, "controls": {"style": "loud"}}]})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "bad_control")
    assert [entry["pointer"] for entry in problem["errors"]] == ["/items/0/controls/style"]


def test_ready_and_models_ask_the_graph(handle: DeploymentHandle[Any], tiny_bundle: Any) -> None:
    assert handle.ready.remote().result(timeout_s=60) is None
    assert handle.models.remote().result(timeout_s=60).models[0].bundle_id == tiny_bundle.bundle_id


def test_wrong_arguments_and_missing_bundles_are_refused_before_anything_is_deployed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bundel"):
        build({"bundel": "typo"})
    with pytest.raises(BundleNotFound):
        build({"bundle": str(tmp_path)})


def test_an_alias_is_pinned_to_the_version_it_names_when_the_application_is_built(tiny_bundle: Any, tmp_path: Path) -> None:
    registry = Registry(open_storage(tmp_path / "registry"))
    version = registry.publish(tiny_bundle.path, version=tiny_bundle.bundle_id)
    registry.promote("prod", version, reason="first", by="test", at=datetime(2026, 11, 24, tzinfo=UTC))
    config = ServeConfig(registry=str(tmp_path / "registry"))
    assert pinned(config)[0].bundle == tiny_bundle.bundle_id


def test_names_in_a_bucket_are_pinned_and_so_is_the_policy(tiny_bundle: Any, bucket: str, tmp_path: Path) -> None:
    place = f"s3://{bucket}/registry"
    registry = Registry(open_storage(place))
    version = registry.publish(tiny_bundle.path, version=tiny_bundle.bundle_id)
    registry.promote("prod", version, reason="first", by="test", at=datetime(2026, 11, 24, tzinfo=UTC))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "pack.yaml").write_text("name: corner_shop\nextends: shop\n")
    config = pinned(ServeConfig(bundle=f"{place}/prod", snapshot=f"{place}/prod", pack=str(tmp_path / "mine")))[0]
    assert config.bundle == config.snapshot == f"{place}/{version}"
    lexicon = (Path(packs.__file__).parent / "shop" / "lexicon.yaml").read_text(encoding="utf-8").replace("首选", "首推", 1)
    (tmp_path / "mine" / "lexicon.yaml").write_text(lexicon, encoding="utf-8")
    for replica in (QualityReplica, FeaturesReplica):
        with pytest.raises(ConfigError, match=r"policy_version: the application was deployed with .*deploy again"):
            replica(config)
    with pytest.raises(ConfigError, match="/nowhere"):
        build({"bundle": str(tiny_bundle.path), "pack": "/nowhere"})


def test_a_deployment_scales_only_where_its_bounds_differ() -> None:
    class Nothing:
        """A replica."""

    fixed = deployment(Nothing, "fixed", Resources(num_cpus=0.1), Replicas(), longest_s=60)
    scaling = deployment(Nothing, "scaling", Resources(num_cpus=0.1), Replicas(max_replicas=4, target_ongoing=2), longest_s=60)
    assert (fixed.num_replicas, fixed.max_ongoing_requests) == (1, 64)
    assert scaling._deployment_config.autoscaling_config.max_replicas == 4
    assert scaling._deployment_config.autoscaling_config.downscale_delay_s == 120


def test_a_replica_asks_for_the_accelerator_that_is_named() -> None:
    class Nothing:
        """A replica."""

    resources = Resources(num_cpus=0.1, num_gpus=1, accelerator_type="L4")
    declared = deployment(Nothing, "gpu", resources, Replicas(), longest_s=60)
    assert declared.ray_actor_options == {"num_cpus": 0.1, "num_gpus": 1, "accelerator_type": "L4"}


def test_a_generator_that_decodes_with_vllm_has_its_environment_and_no_compiled_steps() -> None:
    assert GeneratorConfig().environment == {}
    own = GeneratorConfig(engine="vllm", threads=2)
    assert own.environment == {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": "2"}
    declared = deployment(FeaturesReplica, "any", Resources(num_cpus=0.1), Replicas(), longest_s=60, environment=own.environment)
    assert declared.ray_actor_options["runtime_env"] == {"env_vars": own.environment}
    with pytest.raises(ConfigError, match=r"generator: compile is on and engine is vllm"):
        build({"generator": {"engine": "vllm", "compile": True}})


def test_a_replica_that_is_told_to_stop_has_time_for_the_longest_page() -> None:
    limits = HttpLimits(deadline=DeadlineLimits(max_ms=90_000))
    declared = deployment(FeaturesReplica, "any", Resources(num_cpus=0.1), Replicas(), longest_s=limits.longest_s)
    assert declared._deployment_config.graceful_shutdown_timeout_s > 90


def test_the_device_follows_the_reservation_and_a_gpu_that_is_missing_is_told(tiny_bundle: Any) -> None:
    gpu = Resources(num_cpus=1, num_gpus=1)
    assert [GeneratorConfig(resources=gpu, device=device).on for device in ("auto", "cuda", "cpu")] == ["cuda", "cuda", "cpu"]
    assert GeneratorConfig().on == "cpu"
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    with pytest.raises(ConfigError, match="device: got 'cuda' and CUDA finds no GPU in this process"):
        GeneratorReplica(ServeConfig(bundle=str(tiny_bundle.path), generator=GeneratorConfig(resources=gpu)))


@pytest.mark.parametrize("bounds", [{"min_replicas": 3}, {"max_replicas": 4, "target_ongoing": 64}, {"max_queued": 0}], ids=str)
def test_bounds_that_could_not_work_are_refused(bounds: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        build({"generator": {"replicas": bounds}})


def test_what_all_deployments_reserve_fits_two_cores() -> None:
    config = ServeConfig()
    assert sum(part.resources.num_cpus for part in (config.api, config.features, config.generator, config.quality)) <= 2
