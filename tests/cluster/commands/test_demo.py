import pytest

from cluster.commands.demo import shortfalls
from train_app.runtime.run import TrainResult


def result(*, auc: float = 0.8, adversarial: str = "b") -> TrainResult:
    return TrainResult(
        bundle_path="b", bundle_id="lb-1", run="r", run_path="r", selected="sft", selection={}, metrics={"discriminator.auc": auc},
        digests={"sft": "a", "adversarial 1": adversarial, "filtering 1": "c"},
    )  # fmt: skip


def test_a_run_that_shows_what_it_promises_falls_short_of_nothing() -> None:
    assert shortfalls(result(), ["model"] * 12) == []


@pytest.mark.parametrize(
    ("made", "sources", "told"),
    [
        (result(auc=0.61), ["model"] * 12, "discriminator.auc is 0.610"),
        (result(), ["model", "template"], "1 of 2 reasons are templates"),
        (result(adversarial="a"), ["model"], "a stage left the adapter as it was"),
    ],
)
def test_what_a_demonstration_did_not_show_is_named(made: TrainResult, sources: list[str], told: str) -> None:
    (found,) = shortfalls(made, sources)
    assert told in found
