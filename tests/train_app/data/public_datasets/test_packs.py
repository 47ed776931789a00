import pytest

from common.domain.context import Context
from common.domain.product import Product
from common.generation.template import fill_template
from common.packs.load import load_pack
from common.quality.verdict import Checker
from train_app.data.public_datasets import advertisegen, amazon_reviews, kobe

PRODUCT = Product(product_id="p1", title="裤", category="裤")


@pytest.mark.parametrize("folder", [kobe.PACK, advertisegen.PACK, amazon_reviews.PACK])
def test_whatever_codes_are_asked_there_is_a_template_that_passes_its_own_checks(folder: object) -> None:
    pack = load_pack(folder)
    checker = Checker(pack, threshold=0.0)
    for control in pack.vocabulary.controls:
        for value in control.values:
            context = Context(product=PRODUCT, controls={control.name: value.name})
            text, _ = fill_template(context, checker=checker)
            assert checker.judge(text, context=context, score=None).accepted
