"""Joins a Ray cluster, or starts one on this machine. The only place that calls `ray.init`."""

from collections.abc import Iterator
from contextlib import contextmanager

from common.errors import Unavailable

ATTENTIVE = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25"}
"""How often Ray Train asks its workers for reports; a checkpoint waits until it was asked, two seconds by Ray's own default."""

KEEPING = {"MALLOC_MMAP_THRESHOLD_": "2000000000", "MALLOC_TRIM_THRESHOLD_": "4000000000"}
"""glibc keeps the memory of a training step for the next one; given back and asked for again, a third of the time went into the kernel."""

STARTUP_TIMEOUT = "timed out during startup"


@contextmanager
def connect(
    *,
    num_cpus: int | None = None,
    num_gpus: int | None = None,
    address: str | None = None,
    num_threads: int = 1,
    dashboard: bool = False,
    metrics_port: int | None = None,
) -> Iterator[None]:
    """A session that is left as it was found: a cluster started here is shut down, one that was joined is not.

    `address` None starts a local cluster with `num_cpus`/`num_gpus` logical resources (None: what the machine has). `num_threads`
    is what OpenMP gets in workers that do not set it themselves; idle threads wait passively, since spinning ones made the same
    training step ten times slower on a busy two-core machine. `dashboard`: whether a cluster started here has one. A study needs it: when
    a trial is stopped, Ray Train asks the dashboard whether its controller lives before it gives back what its workers reserved, and
    without one it never does. `metrics_port`: where a cluster started here tells Prometheus its metrics, on all interfaces; None: on a free
    port. Raises Unavailable when no cluster answers at `address`.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    environment = (
        {"OMP_NUM_THREADS": str(num_threads), "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"} | ATTENTIVE | KEEPING
    )
    try:
        ray.init(
            address=address or "local",
            num_cpus=None if address else num_cpus,
            num_gpus=None if address else num_gpus,
            include_dashboard=None if address else dashboard,
            _metrics_export_port=metrics_port,
            log_to_driver=False,
            configure_logging=False,
            runtime_env={"env_vars": environment},
        )
    except ConnectionError as error:
        raise Unavailable(f"no Ray cluster answers at {address!r}; start one with `ray start --head` or leave the address out") from error
    except Exception as error:
        if STARTUP_TIMEOUT not in str(error):  # Ray raises a bare Exception for it
            raise
        raise Unavailable(
            "Ray did not start on this machine in time: it is very busy, or short of memory; try again when it is not"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
