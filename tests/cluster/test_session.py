from collections.abc import Callable

import pytest
import ray

from cluster.session import connect
from common.errors import Unavailable


def raising(error: Exception) -> Callable[..., None]:
    def init(**_: object) -> None:
        raise error

    return init


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ConnectionError("no answer"), "no Ray cluster answers at '10.0.0.1:6379'"),
        (Exception("The current node timed out during startup. This could happen because some components failed"), "very busy"),
    ],
)
def test_a_cluster_that_cannot_be_had_is_said_to_be_unavailable(error: Exception, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", raising(error))
    with pytest.raises(Unavailable, match=told), connect(address="10.0.0.1:6379"):
        pass


def test_another_fault_of_rays_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", raising(ValueError("num_cpus must not be negative")))
    with pytest.raises(ValueError, match="num_cpus"), connect():
        pass
