"""A Serve config file whose every key does something, or an error that names the one that does nothing."""

import copy
from typing import Any

import pytest

from common.errors import ConfigError
from serve_app.deploy_check import check

CONFIG: dict[str, Any] = {
    "proxy_location": "EveryNode",
    "http_options": {"host": "0.0.0.0", "port": 8000, "request_timeout_s": 65},
    "logging_config": {"encoding": "JSON"},
    "applications": [
        {
            "name": "liyou",
            "route_prefix": "/",
            "import_path": "serve_app.app:build",
            "autoscaling_policy": {"policy_function": "serve_app.autoscaling:Policy", "policy_kwargs": {"target_wait_s": 2}},
            "args": {
                "doors": {"keys": "keys.json"},
                "generator": {"replicas": {"min_replicas": 1, "max_replicas": 4}, "resources": {"num_cpus": 1, "num_gpus": 1}},
            },
            "deployments": [{"name": "generator", "graceful_shutdown_timeout_s": 60, "ray_actor_options": {"memory": 1000000}}],
        }
    ],
}


def told(*path: str | int, value: object) -> str:
    """What is said of CONFIG with `value` at `path`."""
    document = copy.deepcopy(CONFIG)
    place: Any = document
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises(ConfigError) as error:
        check(document, source="serve.yaml")
    return str(error.value)


def test_a_config_in_order_is_in_order() -> None:
    check(CONFIG, source="serve.yaml")


def test_without_keys_it_listens_on_loopback_or_says_that_it_is_open() -> None:
    said = told("applications", 0, "args", "doors", value={})
    assert "applications[0].args.doors: http_options.host is 0.0.0.0, and no key is asked for" in said
    for host, doors in (("0.0.0.0", {"open": True}), ("127.0.0.1", {})):
        document = copy.deepcopy(CONFIG)
        document["http_options"]["host"] = host
        document["applications"][0]["args"]["doors"] = doors
        check(document, source="serve.yaml")


APP = ("applications", 0)
DEPLOYMENT = (*APP, "deployments", 0)


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        (("proxy_locaton",), "HeadOnly", "proxy_locaton: Serve knows no such field and would ignore it; did you mean proxy_location?"),
        (("http_options", "prt"), 1, "http_options.prt: Serve knows no such field"),
        ((*APP, "route_prefx"), "/z", "applications[0].route_prefx: Serve knows no such field"),
        ((*DEPLOYMENT, "max_ongoing_request"), 9, "deployments[0].max_ongoing_request: Serve knows no such field"),
        ((*DEPLOYMENT, "ray_actor_options", "num_gpu"), 1, "deployments[0].ray_actor_options.num_gpu"),
        ((*DEPLOYMENT, "autoscaling_config"), {"max_replica": 5}, "deployments[0].autoscaling_config.max_replica: Serve"),
        ((*APP, "autoscaling_policy", "policy"), "x:y", "applications[0].autoscaling_policy.policy: Serve"),
        ((*APP, "autoscaling_policy", "policy_function"), "serve_app.autoscaling:Polic", "has no attribute 'Polic'"),
        ((*APP, "autoscaling_policy", "policy_kwargs"), {"target_wait": 2}, "unexpected keyword argument 'target_wait'"),
        ((*APP, "autoscaling_policy", "policy_kwargs"), {"target_wait_s": -1}, "expected target_wait_s > 0"),
        ((*APP, "args"), {"generater": {}}, "generater"),
        ((*APP, "args"), {"generator": {"device": "cuda"}}, "device is cuda and no GPU is reserved"),
        ((*DEPLOYMENT, "name"), "generater", "generater: no such deployment; there are api, features, generator, quality"),
        (("http_options", "request_timeout_s"), 3, "request_timeout_s: got 3; a storefront may ask for"),
        ((*APP, "import_path"), "serve_app.app:biuld", "import_path: got serve_app.app:biuld; expected serve_app.app:build"),
        ((*DEPLOYMENT, "num_replicas"), 3, "generator.num_replicas: would overrule args.generator; say it there"),
        ((*APP, "autoscaling_policy", "policy_function"), "serve_app.autoscaling:work_s", "is a function, which gets none"),
        (("applications",), [], "deployed, this would delete all that run"),
        ((*APP, "import_path"), 3, "applications[0].import_path"),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else None,
)  # fmt: skip
def test_what_does_nothing_or_cannot_be_is_named(path: tuple[str | int, ...], value: object, line: str) -> None:
    assert line in told(*path, value=value)


def test_every_problem_is_told_at_once() -> None:
    document = {**copy.deepcopy(CONFIG), "a": 1}
    document["applications"][0]["b"] = 2
    with pytest.raises(ConfigError) as error:
        check(document, source="serve.yaml")
    assert len(str(error.value).splitlines()) == 2


def test_another_application_in_the_file_is_checked_as_far_as_serve_describes_it() -> None:
    document = copy.deepcopy(CONFIG)
    document["applications"].append({"name": "other", "route_prefix": "/other", "import_path": "other:app", "args": {"anything": 1}})
    check(document, source="serve.yaml")
