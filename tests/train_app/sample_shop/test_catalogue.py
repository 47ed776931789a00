from collections import defaultdict
from itertools import islice

from train_app.sample_shop.catalogue import make_catalogue, newcomer_brands, pretraining_texts, trade
from train_app.sample_shop.grammar.facts import shop_facts


def test_the_same_seed_makes_the_same_products_and_another_seed_makes_others():
    once, again, other = (make_catalogue(seed=seed, num_products=30) for seed in (1, 1, 2))
    assert once == again
    assert once != other


def test_a_product_does_not_depend_on_how_many_there_are():
    assert make_catalogue(seed=1, num_products=50)[:10] == make_catalogue(seed=1, num_products=10)


def test_attributes_are_the_packs_with_its_units_and_ranges():
    for product in make_catalogue(seed=4, num_products=200):
        facts = shop_facts().category(product.category)
        assert facts is not None
        for attribute in facts.attributes:
            (value,) = product.values(attribute.key)
            if attribute.kind == "choice":
                assert value in attribute.values
            else:
                assert attribute.range is not None
                assert value.endswith(attribute.unit)
                assert attribute.range[0] <= float(value.removesuffix(attribute.unit)) <= attribute.range[1]


def test_at_least_twelve_categories_of_six_parents_with_at_most_eighty_values_each():
    categories = shop_facts().categories
    assert len(categories) >= 12
    assert len({category.parent for category in categories}) >= 6
    for category in categories:
        choices = sum(len(attribute.values) for attribute in category.attributes)
        assert 10 <= choices + sum(map(len, trade().categories[category.name].quantities.values())) <= 80
        assert 4 <= len(category.attributes) <= 7


def test_the_class_of_a_brand_shows_in_its_prices():
    prices = defaultdict(list)
    classes = {}
    for brands in trade().brands.values():
        classes |= {**brands.established, **brands.newcomers}
    for product in make_catalogue(seed=5, num_products=600):
        prices[classes[product.brand]].append(float(product.price.amount()) / trade().categories[product.category].median_yuan)
    means = {rank: sum(found) / len(found) for rank, found in prices.items()}
    assert means["budget"] < 0.8 * means["middle"] < 0.64 * means["premium"]


def test_the_shop_sells_brands_that_the_pack_does_not_know():
    sold = {product.brand for product in make_catalogue(seed=6, num_products=500)}
    assert 0.1 <= len(sold - set(shop_facts().brands)) / len(sold) <= 0.5
    assert newcomer_brands() & sold


def test_pretraining_texts_tell_facts_of_their_own_product_and_are_varied():
    texts = []
    for product, description, reviews in pretraining_texts(9, 150):
        assert product.brand not in {brand for brands in trade().brands.values() for brand in brands.established}
        facts = {attribute.value for attribute in product.attributes} | {product.category}
        assert any(fact in description for fact in facts)
        for value in shop_facts().brands:
            assert value == product.brand or len(value) < 3 or value not in description
        texts += [description, *reviews]
    assert len(set(texts)) > 0.95 * len(texts)


def test_pretraining_products_are_not_the_shops():
    shop = {product.title for product in make_catalogue(seed=0, num_products=300)}
    assert not shop & {product.title for product, _, _ in islice(pretraining_texts(0, 300), 300)}
