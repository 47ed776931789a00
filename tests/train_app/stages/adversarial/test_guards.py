import pytest

from train_app.config import AdversarialConfig
from train_app.stages.adversarial.guards import tripped, variety

CONFIG = AdversarialConfig(max_kl=0.5, min_distinct=0.8, min_unique=0.5)
GOOD = {"kl": 0.02, "unique": 1.0, "distinct_2": 0.4, "distinct_average": 0.4}


def test_a_healthy_step_trips_nothing() -> None:
    assert tripped(GOOD, first_distinct=0.4, config=CONFIG) is None
    assert tripped(GOOD | {"distinct_2": 0.1}, first_distinct=0.4, config=CONFIG) is None, "one step's few samples prove nothing"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kl": 0.9}, "0.900 nats"),
        ({"unique": 0.2}, "20%"),
        ({"distinct_average": 0.1}, "0.400 to 0.100"),
        ({"loss": float("nan")}, "loss is nan"),
    ],
)
def test_divergence_and_collapse_are_named_with_their_figures(change: dict[str, float], told: str) -> None:
    assert told in str(tripped(GOOD | change, first_distinct=0.4, config=CONFIG))


def test_variety_sees_a_sentence_that_is_repeated() -> None:
    assert variety(["一条好理由", "一条好理由"])["unique"] == 0.5
    assert variety(["一条好理由"] * 9)["distinct_2"] < variety(["一条好理由", "另有说法的句子"])["distinct_2"]
