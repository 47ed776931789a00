from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from train_app.stages.discriminator import training
from train_app.stages.discriminator.training import Exhibit, Judged, discriminator_reading


def reading(bench, monkeypatch, loss: str, *, real: list[float], fake: list[float], wrong: list[float]) -> dict[str, float]:
    """Of a discriminator that gives these logits."""
    texts = {name: [Judged(value, {}) for value in values] for name, values in (("real", real), ("fake", fake), ("wrong", wrong))}
    monkeypatch.setattr(
        training, "_out", lambda discriminator, shown: SimpleNamespace(logit_B=torch.tensor([one.features for one in shown]))
    )
    batch = [Exhibit(one, (other,), third, None) for one, other, third in zip(*texts.values(), strict=True)]
    config = bench.discriminator.model_copy(update={"loss": loss})
    return discriminator_reading(bench.new_discriminator(), batch, config, bench=bench, seed=0)


LOGITS = {"real": [7.0, 6.0, 5.0, 4.0], "fake": [6.0, 7.0, 1.0, 4.0], "wrong": [0.0, 0.0, 6.0, 4.0]}


@pytest.mark.parametrize(("loss", "accuracy"), [("bce", 0.5), ("hinge", 0.5), ("bt", 0.625), ("wgan", 0.625)])
def test_logits_that_mean_something_only_beside_each_other_are_right_by_pairs(bench, monkeypatch, loss: str, accuracy: float) -> None:
    """All lie above 0: by sides of it a Bradley-Terry or Wasserstein critic would never be above a coin, whatever it knows."""
    found = reading(bench, monkeypatch, loss, **LOGITS)
    assert found == {"accuracy": accuracy, "ordered_samples": 0.625, "ordered_wrong": 0.625, "ties": 0.25}


def test_a_critic_that_says_the_same_of_everything_ties_everywhere(bench, monkeypatch) -> None:
    found = reading(bench, monkeypatch, "bce", real=[1.0] * 3, fake=[1.0] * 3, wrong=[1.0] * 3)
    assert found["ties"] == 1
    assert found["ordered_samples"] == found["ordered_wrong"] == 0.5


def test_permuted_labels_leave_to_chance_which_text_is_the_real_one(bench, monkeypatch) -> None:
    monkeypatch.setattr(training, "judged_as", lambda bench, answers: [Judged(answer.ids, answer.context.controls) for answer in answers])
    examples = bench.splits.discriminator
    fakes = [(row, [(row, 1), (row, 2)]) for row in range(len(examples))]
    shown = training.exhibits(bench, examples, fakes)
    null = replace(bench, discriminator=bench.discriminator.model_copy(update={"permuted_labels": True}))
    permuted = training.exhibits(null, examples, fakes)

    def texts(one: Exhibit) -> list[object]:
        return sorted(str(text.features) for text in (one.real, *one.fakes, one.perturbed, one.mismatched) if text is not None)

    assert [texts(one) for one in permuted] == [texts(one) for one in shown]
    still_real = [one.real == other.real for one, other in zip(permuted, shown, strict=True)]
    assert 0 < sum(still_real) < len(still_real) / 2
    assert training.exhibits(null, examples, fakes) == permuted
