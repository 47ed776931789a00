"""Whether a Serve config file means what it says. Serve ignores the keys it does not know, at every level; here they are errors.

Checks the file as Ray reads it, and this application's `args` as its builder does. Deploys nothing.
"""

import importlib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from types import UnionType
from typing import Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, DeploymentActorConfig, GangSchedulingConfig, RequestRouterConfig
from ray.serve.schema import ServeApplicationSchema, ServeDeploySchema

from common.config import parse
from common.errors import ConfigError
from serve_app.config import ServeConfig

BUILDER = "serve_app.app:build"
DEPLOYMENTS = ("api", "features", "generator", "quality")
IN_ARGS = {"num_replicas", "autoscaling_config", "max_ongoing_requests", "max_queued_requests"}
"""Fields of a deployment that our `args` have: the builder checks them against each other there."""
RAW: dict[str, type[BaseModel]] = {
    "autoscaling_config": AutoscalingConfig,
    "autoscaling_policy": AutoscalingPolicy,
    "policy": AutoscalingPolicy,
    "request_router_config": RequestRouterConfig,
    "gang_scheduling_config": GangSchedulingConfig,
    "deployment_actors": DeploymentActorConfig,
}
"""What Serve's schema keeps as a plain mapping, and what reads it later."""


def check(document: object, *, source: str) -> None:
    """`document` is a parsed Serve config file (or a RayService's serveConfigV2). Raises ConfigError naming every problem."""
    if not isinstance(document, Mapping):
        raise ConfigError(f"{source}: expected a mapping at the top, got {type(document).__name__}")
    found = [f"{path}: Serve knows no such field and would ignore it{near}" for path, near in _unknown(document, ServeDeploySchema, "")]
    try:
        read = ServeDeploySchema.model_validate(document)
    except ValidationError as error:
        found += [f"{_path(fault['loc'])}: {fault['msg']}; got {fault['input']!r:.80}" for fault in error.errors(include_url=False)]
    except ImportError as error:
        found.append(f"a policy or router class named in a deployment: {error}")
    else:
        if not read.applications:
            found.append("applications: none; deployed, this would delete all that run")
        for place, application in enumerate(read.applications):
            path = f"applications[{place}]"
            found += _policy(application.autoscaling_policy, f"{path}.autoscaling_policy")
            if application.import_path.partition(":")[0].startswith(BUILDER.partition(".")[0] + "."):
                if application.import_path != BUILDER:
                    found.append(f"{path}.import_path: got {application.import_path}; expected {BUILDER}")
                found += _own(application, read.http_options.host or "", read.http_options.request_timeout_s, path)
    if found:
        raise ConfigError("\n".join(f"{source}: {problem}" for problem in found))


def _unknown(data: Mapping[str, object], model: type[BaseModel], path: str) -> Iterator[tuple[str, str]]:
    fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    for key, value in data.items():
        if key not in fields:
            yield f"{path}{key}", _nearest(str(key), fields)
        elif inner := RAW.get(key) or _model(fields[key]):
            for number, entry in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(entry, Mapping):
                    yield from _unknown(entry, inner, f"{path}{key}{'' if number is None else f'[{number}]'}.")


def _model(annotation: object) -> type[BaseModel] | None:
    """The model that a field holds, alone, in a list or optionally."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType, list):
        return next((found for inner in get_args(annotation) if (found := _model(inner))), None)
    return None


def _nearest(key: str, fields: Mapping[str, object]) -> str:
    close = get_close_matches(key, list(fields), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _own(application: ServeApplicationSchema, host: str, timeout_s: float | None, path: str) -> Iterator[str]:
    """What Serve cannot know of this application."""
    try:
        config = parse(dict(application.args), ServeConfig, source=f"{path}.args")
    except ConfigError as error:
        yield str(error)
        return
    if config.doors.refuses(host):
        yield (
            f"{path}.args.doors: http_options.host is {host}, and no key is asked for. Name the file of keys (doors.keys), "
            "or set doors.open where something in front decides who may ask."
        )
    longest_s = config.http.deadline.max_ms / 1000
    if timeout_s is not None and timeout_s < longest_s:
        yield (
            f"http_options.request_timeout_s: got {timeout_s:g}; a storefront may ask for {longest_s:g} s "
            f"({path}.args.http.deadline.max_ms), which Serve would cut off. Raise the one or lower the other."
        )
    for deployment in application.deployments:
        if deployment.name not in DEPLOYMENTS:
            yield f"{path}.deployments: {deployment.name}: no such deployment; there are {', '.join(DEPLOYMENTS)}"
        for field in IN_ARGS & deployment.model_fields_set:
            yield f"{path}.deployments: {deployment.name}.{field}: would overrule args.{deployment.name}; say it there"


def _policy(policy: Mapping[str, object] | None, path: str) -> Iterator[str]:
    """Serve imports it when the application runs, and drops it with a line in a log where that fails."""
    if policy is None:
        return
    module, _, name = str(policy.get("policy_function", "")).partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
        kwargs = dict(policy.get("policy_kwargs") or {})  # type: ignore[call-overload]
        if isinstance(found, type):
            found(**kwargs)
        elif kwargs:
            yield f"{path}.policy_kwargs: {policy.get('policy_function')} is a function, which gets none; Serve would ignore them"
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        yield f"{path}: {policy.get('policy_function')!r} with {policy.get('policy_kwargs') or {}}: {error}"


def _path(loc: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".")
