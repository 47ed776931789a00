"""What a served application is made of, as data. Every field has a unit or a meaning for null; unknown keys are errors."""

from typing import Literal

from pydantic import Field, model_validator

from common.config import Device, Frozen, resolved
from common.generation.engine import EngineName
from common.generation.vllm import ENVIRONMENT as VLLM_ENVIRONMENT
from serve_app.http.limits import HttpLimits


class Replicas(Frozen):
    """How many replicas a deployment has, and what each may hold at once."""

    min_replicas: int = Field(1, ge=1, description="0 would add a model's start to the first request")
    max_replicas: int = Field(1, ge=1, description="equal to min_replicas: no autoscaling")
    target_ongoing: float = Field(
        4,
        gt=0,
        description="pages in flight a replica at which another is started; under our policy the generator goes by sequences",
    )
    max_ongoing: int = Field(64, ge=1, description="pages in flight a replica; Ray's default of 5 would starve the engine's queue")
    max_queued: int = Field(256, ge=1, description="pages that wait in a caller before it is told BackPressure")
    look_back_s: float = Field(15, gt=0, description="what is measured is averaged over so long; Serve's replicas report every ten seconds")
    upscale_delay_s: float = Field(10, ge=0, description="how long more replicas have to be asked for before they are started")
    downscale_delay_s: float = Field(120, ge=0, description="how long fewer have to do before any is stopped; a start costs a model's load")

    @model_validator(mode="after")
    def _possible(self) -> "Replicas":
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas is {self.min_replicas}, above max_replicas, {self.max_replicas}")
        if self.min_replicas < self.max_replicas and self.target_ongoing >= self.max_ongoing:
            raise ValueError(
                f"target_ongoing is {self.target_ongoing}; it has to stay below max_ongoing, {self.max_ongoing}, to scale at all"
            )
        return self


class Resources(Frozen):
    """What a replica reserves. The defaults of all deployments fit two cores together."""

    num_cpus: float = Field(ge=0, description="logical cores")
    num_gpus: float = Field(0, ge=0, description="logical GPUs")
    accelerator_type: str | None = Field(
        None, min_length=1, description="only on nodes with this one, as Ray names it: H100, L4; null: any"
    )


class ApiConfig(Frozen):
    resources: Resources = Resources(num_cpus=0.1)
    replicas: Replicas = Replicas(target_ongoing=16, max_ongoing=256)


class FeaturesConfig(Frozen):
    timeout_s: float = Field(1.0, gt=0, description="longest a lookup may take before another replica is asked")
    resources: Resources = Resources(num_cpus=0.1)
    replicas: Replicas = Replicas(target_ongoing=16, max_ongoing=256)


class GeneratorConfig(Frozen):
    resources: Resources = Resources(num_cpus=1.0)
    replicas: Replicas = Replicas(max_ongoing=1024)  # its engine lets in what ends in time: nothing is to wait before it
    device: Device = Field("auto", description="auto: cuda where num_gpus is above 0; where CUDA is missing then, a replica does not start")
    dtype: Literal["fp32", "bf16"] | None = Field(
        None,
        description="null: as the bundle was trained. bf16 is quicker and a few texts of 100 differ; a processor without it takes fp32",
    )
    threads: int = Field(1, ge=1, description="OpenMP threads of the engine; more than one pays only on cores of its own")
    max_len: int = Field(1024, ge=64, description="tokens of prompt and answer that a slot holds; the model's own limit if that is lower")
    slots: int = Field(32, ge=1, description="sequences decoded together")
    engine: EngineName = Field(
        "hf", description="what decodes: our own, or vLLM where that is installed, without decoding.guidance; docs/engines.md"
    )
    compile: bool = Field(False, description="compile the decode step: up to 20 % more answers, half a minute more at the start; hf only")

    @model_validator(mode="after")
    def _visible(self) -> "GeneratorConfig":
        assert self.on in ("cpu", "cuda")
        return self

    @model_validator(mode="after")
    def _compilable(self) -> "GeneratorConfig":
        if self.compile and self.engine != "hf":
            raise ValueError(f"compile is on and engine is {self.engine}; only the steps of hf are ours to compile. Leave one out")
        return self

    @property
    def on(self) -> Literal["cpu", "cuda"]:
        """Where it computes. Raises ValueError where that cannot be."""
        return resolved(self.device, num_gpus=self.resources.num_gpus)

    @property
    def environment(self) -> dict[str, str]:
        """Of a replica's process, beyond the cluster's."""
        return {**VLLM_ENVIRONMENT, "OMP_NUM_THREADS": str(self.threads)} if self.engine == "vllm" else {}


class QualityConfig(Frozen):
    resources: Resources = Resources(num_cpus=0.3)
    replicas: Replicas = Replicas(target_ongoing=16, max_ongoing=256)
    threads: int = Field(1, ge=1, description="OpenMP threads of the discriminator")


class AnswerConfig(Frozen):
    """Null means: as the bundle was evaluated, or as `AnswerPolicy` has it."""

    k: int | None = Field(None, ge=1, le=16, description="candidates an item and attempt")
    max_attempts: int | None = Field(None, ge=1, le=8, description="rounds of generation before a template")
    expected_s: float | None = Field(None, gt=0, description="seconds a round takes; with less left, the template is taken at once")
    varied: bool = Field(True, description="no two accepted reasons of a page open alike, or share most of their words")
    judge_s: float = Field(0.3, ge=0, description="seconds of a round kept for judging what was written")
    reserve_s: float = Field(0.15, ge=0, description="seconds of a page kept for templates and the way back")


LOOPBACK = ("127.0.0.1", "::1", "localhost")


class DoorsConfig(Frozen):
    """Who may ask, and how often."""

    keys: str | None = Field(
        None,
        description="file of API keys, as `liyou keys issue` writes it, read again when it changes; null: anybody may ask",
    )
    open: bool = Field(False, description="without keys, listen beyond loopback all the same: something in front decides who may ask")
    redis: str | None = Field(
        None, description="file that holds the URL of a Redis in which all replicas count; null: each replica counts alone"
    )
    local_share: float = Field(
        0.25,
        gt=0,
        le=1,
        description="of its limits, what a key has at each replica while Redis does not answer: one over the replicas",
    )

    def refuses(self, host: str) -> bool:
        """Whether anybody who reaches `host` could ask, and nobody has said that they may."""
        return host not in LOOPBACK and self.keys is None and not self.open


class CacheConfig(Frozen):
    """Accepted reasons that are shown again, where nothing they were written from has changed."""

    max_entries: int = Field(100_000, ge=0, description="of each replica of `api`, about 1 kB each; 0: nothing is kept. Not with `redis`")
    lifetime_s: float = Field(24 * 3600, gt=0, description="seconds a text may be shown again")
    redis: str | None = Field(None, description="file that holds the URL of a Redis that all replicas share; it bounds its own memory")
    secret: str | None = Field(None, description="file of 32 bytes or more that seal what is kept in Redis; every replica has the same")

    @model_validator(mode="after")
    def _sealed(self) -> "CacheConfig":
        if self.redis is not None and self.secret is None:
            raise ValueError("redis is set and secret is not; whoever can write to that Redis could put any text on a page")
        return self


class SigningConfig(Frozen):
    """Keys are Ed25519 in PEM files, as `liyou keys new` makes them; a file is read when a replica of `api` starts."""

    key: str | None = Field(None, description="file of the private key that signs reasons; null: they are not signed")
    trusted: tuple[str, ...] = Field(
        (), max_length=16, description="files of further public keys that are published: of the key that signed before, or will sign next"
    )
    lifetime_s: int = Field(7 * 24 * 3600, ge=60, le=366 * 24 * 3600, description="seconds a signature stands")


class AuditConfig(Frozen):
    """A record of what was shown, for whoever has to account for it; `liyou audit` reads it."""

    to: str | None = Field(None, description="folder, file:// or s3:// URI that the record is kept in; null: none is kept")
    secret: str | None = Field(
        None, description="file whose 32 bytes or more make pseudonyms of user ids; another secret makes others, so keep it to find a user"
    )
    flush_s: float = Field(5.0, gt=0, le=300, description="seconds between segments; a killed replica loses what it showed since the last")
    pending: int = Field(100_000, ge=1, description="texts that may wait for storage; of those beyond it the number is kept")

    @model_validator(mode="after")
    def _with_a_secret(self) -> "AuditConfig":
        if self.to is not None and self.secret is None:
            raise ValueError("to is set and secret is not; a record without pseudonyms would hold user ids, which it must not")
        return self


class TakedownConfig(Frozen):
    """Orders that something must not be shown any more; `liyou takedown` writes them."""

    at: str | None = Field(None, description="folder, file:// or s3:// URI where the orders lie; null: none are followed")
    every_s: float = Field(1.0, gt=0, le=60, description="seconds between two looks for a new order, one small read each")


class PolicyConfig(Frozen):
    """The lexicon, knowledge and templates that `liyou lexicon publish` makes live, in place of the pack's own."""

    at: str | None = Field(
        None, description="URI of the registry whose alias `policy` is followed; null: `registry`, and where that is null too, none is"
    )
    every_s: float = Field(1.0, gt=0, le=60, description="seconds between two looks for a new one, one small read each")
    trusted: tuple[str, ...] = Field(
        (), max_length=16, description="files of public keys, one of which has to have signed it; none: it need not be signed"
    )


class TelemetryConfig(Frozen):
    """Spans of pages. Metrics and logs need none of this: Ray's agents and Serve's files have them."""

    otlp_endpoint: str | None = Field(
        None, pattern=r"^https?://", description="where spans are posted, as OTLP over HTTP: http://HOST:4318/v1/traces; null: nowhere"
    )
    sample: float = Field(0.1, ge=0, le=1, description="share of pages that are traced where the caller's traceparent does not say whether")
    service_name: str = Field("liyou", min_length=1, max_length=100, description="as the receiver names us")


class ServeConfig(Frozen):
    bundle: str | None = Field(
        None,
        description="folder of a bundle, s3://BUCKET/REGISTRY/VERSION, or a version or alias of the registry; null: the starter bundle",
    )
    registry: str | None = Field(None, description="URI of a registry (file://, s3://); null: `bundle` is a folder")
    pack: str | None = Field(
        None, description="folder or s3:// URI of the pack whose lexicon, knowledge and templates apply; null: the one that ships"
    )
    policy_version: str | None = Field(
        None, description="of the pack: a replica that finds another refuses to start; null: the one that is there at deployment"
    )
    base: str | None = Field(
        None, description="folder of the base model on each node, or s3://BUCKET/REGISTRY/VERSION; null: where the bundle's manifest says"
    )
    snapshot: str | None = Field(
        None, description="folder of a snapshot, or s3://BUCKET/REGISTRY/VERSION; null: inline products and inline events only"
    )
    producer: str = Field("liyou", min_length=1, max_length=100, description="name or code of the provider, as the AI label states it")
    demo: bool = Field(False, description="a page at /demo/ that shows the snapshot's products and some of its users, for the shop's staff")
    doors: DoorsConfig = DoorsConfig()
    cache: CacheConfig = CacheConfig()
    signing: SigningConfig = SigningConfig()
    audit: AuditConfig = AuditConfig()
    takedowns: TakedownConfig = TakedownConfig()
    policy: PolicyConfig = PolicyConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    http: HttpLimits = HttpLimits()
    answer: AnswerConfig = AnswerConfig()
    api: ApiConfig = ApiConfig()
    features: FeaturesConfig = FeaturesConfig()
    generator: GeneratorConfig = GeneratorConfig()
    quality: QualityConfig = QualityConfig()

    @model_validator(mode="after")
    def _something_to_show(self) -> "ServeConfig":
        if self.demo and self.snapshot is None:
            raise ValueError("demo is on and snapshot is not set; the page would have no product to show")
        return self
