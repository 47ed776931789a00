from dataclasses import replace

import pytest

from train_app.config import AdversarialConfig
from train_app.stages.adversarial.guards import tripped, variety
from train_app.stages.adversarial.vitals import Vitals

CONFIG = AdversarialConfig(max_kl=0.5, min_distinct=0.8, min_unique=0.5, collapse_patience=3)
GOOD = {"kl": 0.02, "unique": 1.0, "distinct_2": 0.4, "entropy": 2.0, "accuracy": 0.6, "ordered_samples": 0.6, "ordered_wrong": 0.7}
HEALTHY = Vitals(distinct=0.4, first_distinct=0.4, first_entropy=2.0)


def after(vitals: Vitals, *steps: dict[str, float]) -> Vitals:
    for metrics in steps:
        vitals = vitals.after(metrics, certain_above=CONFIG.throttle_certain, confused_below=CONFIG.min_auc)
    return vitals


def test_a_healthy_step_trips_nothing() -> None:
    assert tripped(GOOD, HEALTHY, config=CONFIG) is None
    assert tripped(GOOD | {"distinct_2": 0.1}, HEALTHY, config=CONFIG) is None, "one step's few samples prove nothing"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kl": 0.9}, "0.900 nats"),
        ({"unique": 0.2}, "20%"),
        ({"loss": float("nan")}, "loss is nan"),
        ({"entropy": 0.9}, "the entropy of a token fell from 2.000 to 0.900; 50% of the start is the least"),
    ],
)
def test_divergence_is_named_with_its_figures(change: dict[str, float], told: str) -> None:
    assert told in str(tripped(GOOD | change, HEALTHY, config=CONFIG))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"distinct": 0.1}, "distinct bigrams fell from 0.400 to 0.100"),
        ({"certain": 3, "accuracy": 0.991}, "its accuracy stood above 0.98 for 3 steps (0.991 now)"),
        ({"confused": 3, "auc": 0.51}, "for 3 steps it put the real text above its counterpart in fewer than 55% of the pairs (51.0% now)"),
    ],
)
def test_a_collapse_of_either_side_is_named_with_its_figures(change: dict[str, float], told: str) -> None:
    assert told in str(tripped(GOOD, replace(HEALTHY, **change), config=CONFIG))


def test_a_discriminator_that_gives_all_texts_one_logit_has_collapsed_at_once() -> None:
    assert "the same logit" in str(tripped(GOOD | {"ties": 1.0}, HEALTHY, config=CONFIG))
    assert tripped(GOOD | {"ties": 0.9}, HEALTHY, config=CONFIG) is None


def test_steps_of_certainty_count_in_a_row() -> None:
    sure, certain = replace(HEALTHY, accuracy=0.999), GOOD | {"accuracy": 1.0}
    assert after(sure, certain, certain).certain == 2
    assert after(sure, certain, certain, GOOD).certain == 0


def test_order_is_lost_only_where_samples_and_wrong_texts_both_stand_as_high_as_real_ones() -> None:
    lost = GOOD | {"ordered_samples": 0.5, "ordered_wrong": 0.5}
    assert after(HEALTHY, *[lost] * 30).confused > 3
    assert after(HEALTHY, *[lost | {"ordered_wrong": 0.8}] * 30).confused == 0, "a generator too good to tell is no collapse"


def test_what_is_remembered_survives_a_checkpoint() -> None:
    vitals = after(HEALTHY, GOOD)
    assert Vitals.kept(vitals.values()) == vitals
    assert Vitals.kept({}) == Vitals()


def test_variety_sees_a_sentence_that_is_repeated() -> None:
    assert variety(["一条好理由", "一条好理由"])["unique"] == 0.5
    assert variety(["一条好理由"] * 9)["distinct_2"] < variety(["一条好理由", "另有说法的句子"])["distinct_2"]
