"""What the measures of a report say, on texts small enough to count by hand."""

import json
from pathlib import Path

import pytest

from common.domain.context import Context
from common.domain.product import Attribute, Product
from common.domain.reason import CheckResult, QualityVerdict
from train_app.evaluation.measures import direction, of_attributes, of_selection


def context(*values: str) -> Context:
    attributes = tuple(Attribute(key="图案", value=value) for value in values)
    return Context(product=Product(product_id="p", title="裙", category="裙", attributes=attributes))


def test_attribute_values_are_counted_in_what_was_written_and_not_in_what_was_known() -> None:
    contexts = [context("印花", "条纹"), context("刺绣"), context()]
    texts = ["印花很美", "印花和条纹", "什么也没有"]
    found = of_attributes("text", texts, ["有条纹", "有刺绣", "好"], contexts)
    assert found["text.coverage"].value == pytest.approx((1 / 2 + 0) / 2), "the third product has no values and does not count"
    assert found["text.fmr"].value == 0, "the human texts name 条纹 and 刺绣, the generated ones for them do not"
    assert found["text.fmr"].n == 2
    assert found["text.fcr"].value == pytest.approx(2 / 3)
    assert found["text.div"].value == pytest.approx(1 / 3), "one of three pairs shares one value"


def test_without_attributes_nothing_is_claimed() -> None:
    assert of_attributes("text", ["好"], ["好"], [context()]) == {}


def test_where_all_is_clean_nothing_is_said_of_telling_broken_from_clean() -> None:
    passing = QualityVerdict(accepted=True, score=0.7, checks={"facts": CheckResult(name="facts", passed=True)})
    even = [[-1.0], [-1.0]]
    assert "discriminator.auc" not in of_selection([[passing], [passing]], [[True], [True]], even)
    found = of_selection([[passing], [passing]], [[True], [False]], [[-1.0], [-2.0]])
    assert (found["discriminator.auc"].value, found["likelihood.auc"].value) == (0.5, 1.0)
    pair = of_selection([[passing, passing]], [[False, True]], [[-2.0, -1.0]])
    assert pair["best.over_likelihood"].value == -1.0, "scores are equal, so the first is taken"
    assert (pair["best.first_passing"].value, pair["best.by_likelihood"].value) == (0.0, 1.0)


def test_what_promotion_compares_knows_which_way_is_better() -> None:
    found = [
        direction(name) for name in ("answer.model", "text.c2st_auc", "reference.perplexity_token", "reference.checks", "likelihood.auc")
    ]
    assert found == ["higher", "lower", "lower", "neither", "neither"]


def test_every_figure_of_a_bundle_is_explained() -> None:
    root = Path(__file__).resolve().parents[3]
    document = (root / "docs" / "measures.md").read_text(encoding="utf-8")
    names = json.loads((root / "common" / "starter" / "bundle" / "manifest.json").read_bytes())["metrics"]
    whose, what = {name.partition(".")[0] for name in names}, {name.partition(".")[2] for name in names} | {"risk"}
    assert not [one for one in whose if f"`{one}.`" not in document]
    assert not [one for one in what if f"`{one}`" not in document]
