"""How many replicas are asked for, from what the generators measure. The loop around it, Serve's, runs in tests/prove."""

import pytest
from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from serve_app.autoscaling import Policy

TARGET_S = 2.0


def context(
    name: str,
    *,
    replicas: int = 1,
    bounds: tuple[int, int] = (1, 8),
    pages: float = 0.0,
    queued: float = 0.0,
    sequences: tuple[float, ...] = (),
    seconds: tuple[float, ...] = (),
) -> tuple[DeploymentID, AutoscalingContext]:
    deployment = DeploymentID(name=name, app_name="liyou")
    ids = [ReplicaID(unique_id=str(i), deployment_id=deployment) for i in range(max(len(sequences), len(seconds)))]
    metrics = {"sequences": dict(zip(ids, sequences, strict=False)), "seconds_a_sequence": dict(zip(ids, seconds, strict=False))}
    return deployment, AutoscalingContext(
        deployment_id=deployment,
        deployment_name=name,
        app_name="liyou",
        current_num_replicas=replicas,
        target_num_replicas=replicas,
        running_replicas=ids,
        total_num_requests=pages + queued,
        total_queued_requests=queued,
        aggregated_metrics=metrics,
        raw_metrics=None,
        capacity_adjusted_min_replicas=bounds[0],
        capacity_adjusted_max_replicas=bounds[1],
        policy_state={},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=None,
        config=AutoscalingConfig(min_replicas=bounds[0], max_replicas=bounds[1], target_ongoing_requests=16),
    )


def decided(*contexts: tuple[DeploymentID, AutoscalingContext]) -> dict[str, int]:
    wanted, state = Policy(target_wait_s=TARGET_S, slack=0.7)(dict(contexts))
    assert state == {}
    return {deployment.name: number for deployment, number in wanted.items()}


def test_generators_are_as_many_as_finish_what_waits_in_time() -> None:
    # 160 sequences of 50 ms each are 8 s of one replica's work; 2 s are allowed.
    assert decided(context("generator", pages=8, sequences=(160,), seconds=(0.05,))) == {"generator": 4}


def test_pages_that_wait_in_a_caller_count_like_those_that_run() -> None:
    assert decided(context("generator", pages=4, queued=4, sequences=(80,), seconds=(0.05,))) == {"generator": 4}


def test_a_single_page_gets_no_second_replica_however_long_it_takes() -> None:
    assert decided(context("generator", pages=1, sequences=(200,), seconds=(0.1,))) == {"generator": 1}


def test_replicas_go_only_when_the_rest_has_room() -> None:
    # 5 s of work: three are needed. At 3.9 s two would do, but only just.
    held = context("generator", replicas=3, pages=8, sequences=(30, 30, 18), seconds=(0.05, 0.05, 0.05))
    assert decided(held) == {"generator": 3}
    quiet = context("generator", replicas=3, pages=8, sequences=(18, 18, 18), seconds=(0.05, 0.05, 0.05))
    assert decided(quiet) == {"generator": 2}


def test_features_and_quality_grow_with_the_generator_between_their_own_bounds() -> None:
    wanted = decided(
        context("generator", bounds=(1, 5), pages=8, sequences=(120,), seconds=(0.05,)),  # 3 of 1..5: half way
        context("features", bounds=(1, 3)),
        context("quality", bounds=(2, 4)),
    )
    assert wanted == {"generator": 3, "features": 2, "quality": 3}


def test_a_deployment_whose_own_pages_need_more_gets_more() -> None:
    wanted = decided(context("generator", pages=1), context("api", pages=48))
    assert wanted == {"generator": 1, "api": 3}


def test_where_nothing_was_measured_nothing_changes() -> None:
    fresh = context("generator", pages=6, sequences=(60,), seconds=(0.0,))
    assert decided(fresh, context("quality")) == {"generator": 1, "quality": 1}
    restarting = context("generator", replicas=4, queued=60, sequences=(0,), seconds=(0.05,))
    assert decided(restarting) == {"generator": 4}, "a queue before replicas that all hang is no reason for fewer"


@pytest.mark.parametrize("kwargs", [{"target_wait_s": 0}, {"slack": 0}, {"slack": 1.5}])
def test_settings_that_cannot_be_are_refused(kwargs: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="policy_kwargs"):
        Policy(**kwargs)
