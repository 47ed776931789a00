"""The Serve application: arguments are checked, the bundle admitted, four deployments wired. `serve run serve_app.app:build` starts it."""

from collections.abc import Mapping
from functools import partial

from ray import serve
from ray.serve.config import AutoscalingConfig
from ray.serve.deployment import Application, Deployment

from common.artifacts.registry import Registry
from common.artifacts.registry import pinned as version_now
from common.artifacts.storage import open_storage
from common.config import parse
from serve_app.config import Replicas, Resources, ServeConfig
from serve_app.graph.ingress import Ingress
from serve_app.graph.replicas import FeaturesReplica, GeneratorReplica, QualityReplica
from serve_app.state.live import DEFAULT_ALIAS, Live, locate_bundle, read_live

CONSTRUCTOR_ATTEMPTS = 2
"""Serve would try 20 times; a bundle that is refused stays refused."""
HEALTH_CHECK_PERIOD_S = 5
STOPPING_S = 5.0
"""That a replica has beyond the longest page, to write its record and go. Serve's own default would cut a long page off after 20 s."""


def build(args: dict[str, object]) -> Application:
    """`args` are the fields of ServeConfig. Takes a dict on purpose: under postponed annotations Serve would skip a model's validation.

    Raises ConfigError, BundleNotFound, or what admitting the bundle raises: nothing is deployed then.
    """
    config, _ = pinned(parse(args, ServeConfig, source="serve arguments"))
    return assembled(config)


def assembled(config: ServeConfig) -> Application:
    """Of a configuration that is pinned."""
    declared = partial(deployment, longest_s=config.http.longest_s)
    features = declared(FeaturesReplica, "features", config.features.resources, config.features.replicas).bind(config)
    own = config.generator
    generator = declared(GeneratorReplica, "generator", own.resources, own.replicas, environment=own.environment).bind(config)
    quality = declared(QualityReplica, "quality", config.quality.resources, config.quality.replicas).bind(config)
    api = declared(serve.ingress()(Ingress), "api", config.api.resources, config.api.replicas)
    return api.bind(config, features, generator, quality)


def pinned(config: ServeConfig) -> tuple[ServeConfig, Live]:
    """Aliases as the versions they name now, and the policy as it is now: replicas that start later must not answer with others. And what
    is served then.

    Raises what admitting the bundle raises.
    """
    names = {name: version_now(value) for name in ("snapshot", "base") if (value := getattr(config, name)) is not None}
    if config.registry is not None:
        names["bundle"] = Registry(open_storage(config.registry)).resolve(config.bundle or DEFAULT_ALIAS)
    elif config.bundle is not None:
        names["bundle"] = version_now(config.bundle)
    config = config.model_copy(update=names)
    live = read_live(locate_bundle(config.bundle, registry=config.registry), pack=config.pack, policy_version=config.policy_version)
    return config.model_copy(update={"policy_version": live.pack.policy_version}), live


def deployment(
    replica: type, name: str, resources: Resources, replicas: Replicas, *, longest_s: float, environment: Mapping[str, str] | None = None
) -> Deployment:
    """`longest_s`: what a replica that is told to stop has inside is answered for so long. `environment`: of its process, beyond the
    cluster's."""
    declared = serve.deployment(
        name=name,
        ray_actor_options={"num_cpus": resources.num_cpus, "num_gpus": resources.num_gpus}
        | ({"accelerator_type": resources.accelerator_type} if resources.accelerator_type else {})
        | ({"runtime_env": {"env_vars": dict(environment)}} if environment else {}),
        max_ongoing_requests=replicas.max_ongoing,
        max_queued_requests=replicas.max_queued,
        max_constructor_retry_count=CONSTRUCTOR_ATTEMPTS,
        health_check_period_s=HEALTH_CHECK_PERIOD_S,
        graceful_shutdown_timeout_s=longest_s + STOPPING_S,
    )(replica)
    if replicas.min_replicas == replicas.max_replicas:
        return declared.options(num_replicas=replicas.min_replicas)
    scaling = AutoscalingConfig(
        min_replicas=replicas.min_replicas,
        max_replicas=replicas.max_replicas,
        target_ongoing_requests=replicas.target_ongoing,
        look_back_period_s=replicas.look_back_s,
        upscale_delay_s=replicas.upscale_delay_s,
        downscale_delay_s=replicas.downscale_delay_s,
    )
    return declared.options(autoscaling_config=scaling)
