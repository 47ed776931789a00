"""Attacks do what they are called, and what they gain is measured on the same samples."""

import random
import unicodedata

import pytest

from common.bundle.manifest import Answering
from common.domain.decoding import DecodingParams
from common.errors import BadInput
from common.generation.candidates import Writer
from common.packs.load import load_pack
from common.text.normalise import normalise
from train_app.evaluation.robustness import ATTACKS, PRAISE, robustness
from train_app.evaluation.subject import subject_of

TEXT = "戴着轻，音色干净，一天下来也不用惦记充电这件事。"
ANSWERING = Answering(decoding=DecodingParams(max_new_tokens=8), k=1, max_attempts=1, threshold=0.5)


class Fooled:
    """A discriminator that likes long texts, and one that likes none."""

    def __init__(self, gain: float) -> None:
        self.gain = gain

    def score(self, features, controls):
        return [min(1.0, max(0.0, self.gain * len(one.ids_T) / 40)) for one in features]


def subject(bench, scorer):
    bench.load(bench.policy.adapter())
    writer = Writer(bench.policy.merged, bench.engine, bench.vocabulary, ANSWERING.decoding, "a")
    return subject_of(writer, scorer, answering=ANSWERING, pack=load_pack("shop"))


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_changes_what_it_says(name, bench) -> None:
    context = bench.splits.test[0].context
    text, asked = ATTACKS[name](TEXT, context, bench.vocabulary, random.Random(0))
    if name == "tampered code":
        assert text == TEXT
        assert asked.controls != context.controls
        return
    assert asked == context
    assert text != TEXT
    if name == "zero width":
        assert normalise(text) == TEXT
        assert sum(unicodedata.category(sign) == "Cf" for sign in text) == 3
    elif name == "homoglyphs":
        assert len(text) == len(TEXT)
    elif name == "praise":
        assert text.removeprefix(TEXT) in PRAISE
    else:
        assert any(text.count(clause) == 2 for clause in ("戴着轻，", "音色干净，", "一天下来也不用惦记充电这件事。"))


def test_a_discriminator_that_length_fools_is_found_out(bench) -> None:
    found = robustness(subject(bench, Fooled(1.6)), bench.splits.test)
    assert found.num_samples == len(bench.splits.test)
    assert found.gains["praise"].discriminator.value == 1, "eight tokens are refused, sixteen are not"
    assert "praise" in found.above_bar()
    assert found.gains["tampered code"].discriminator.value == 0


def test_one_that_accepts_nothing_gains_nothing_and_the_checks_stand_beside_it(bench) -> None:
    found = robustness(subject(bench, Fooled(0.0)), bench.splits.test)
    assert all(gain.served.value <= 0 and gain.discriminator.value == 0 for gain in found.gains.values())
    assert found.above_bar() == []


def test_without_a_discriminator_there_is_nothing_to_attack(bench) -> None:
    with pytest.raises(BadInput, match="no discriminator"):
        robustness(subject(bench, None), bench.splits.test)
