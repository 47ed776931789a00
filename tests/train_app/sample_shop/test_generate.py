from collections import Counter, defaultdict

import pytest

from common.domain.context import Context
from common.errors import BadInput
from common.features.rows import EVENTS, PREFERENCES, PRODUCTS, REASONS, USERS
from common.features.summarize import summarize
from common.features.tables import read_table
from common.packs.load import load_pack
from common.quality.verdict import Checker
from train_app.sample_shop.generate import generate_shop, unseen_codes
from train_app.sample_shop.judge import judge


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    out = tmp_path_factory.mktemp("shop")
    report = generate_shop(out, seed=7, users=80, products=400, reasons=1600)
    tables = {}
    for table in (PRODUCTS, EVENTS, USERS, REASONS, PREFERENCES):
        read = read_table(out / f"{table.name}.jsonl", table)
        tables[table.name] = list(read.rows)
        assert list(read.rejects) == []
    return report, tables


@pytest.fixture(scope="module")
def judged(shop):
    """(row, context, judgement) of every reason, its context summarised from the tables as training does."""
    _, tables = shop
    products = {product.product_id: product for product in tables["products"]}
    events = defaultdict(list)
    for event in tables["events"]:
        events[event.user_id].append(event)
    found = []
    for row in tables["reasons"]:
        behavior = summarize(events[row.user_id] if row.user_id else [], at=row.at, products=products)
        context = Context(product=products[row.product_id], behavior=behavior, controls=row.labels)
        found.append((row, context, judge(row.text, context)))
    return found


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        generate_shop(tmp_path / name, seed=3, users=20, products=60, reasons=80)
    for table in ("products", "events", "users", "preferences", "reasons"):
        assert (tmp_path / "a" / f"{table}.jsonl").read_bytes() == (tmp_path / "b" / f"{table}.jsonl").read_bytes()


def test_clean_reasons_and_near_duplicates_are_clean_by_the_tables(judged):
    assert [
        (row.text, verdict) for row, _, verdict in judged if row.provenance["kind"] in ("clean", "near_duplicate") and not verdict.clean
    ] == []


def test_errors_are_of_the_kind_that_provenance_says(judged):
    checker = Checker(load_pack("shop"))
    for row, _, verdict in judged:
        kind = row.provenance["kind"]
        if kind in ("visible_error", "hidden_error"):
            assert row.provenance["agreement"] in verdict.broken
    # The writer takes what somebody viewed last for all that they viewed: now and then what it made false is true of an earlier day.
    visible = [
        checker.judge(row.text, context=context).checks_passed for row, context, _ in judged if row.provenance["kind"] == "visible_error"
    ]
    assert sum(visible) <= 0.03 * len(visible)
    hidden = [
        checker.judge(row.text, context=context).checks_passed for row, context, _ in judged if row.provenance["kind"] == "hidden_error"
    ]
    assert sum(hidden) >= 0.95 * len(hidden)


def test_noise_has_its_shares(shop):
    report, tables = shop
    counts = Counter(row.provenance["kind"] for row in tables["reasons"])
    assert counts == {"clean": 1296, "visible_error": 96, "hidden_error": 96, "typo": 32, "near_duplicate": 80}
    assert report.kinds["hidden_error"] == 0.06


def test_train_and_test_share_no_product_and_a_third_of_the_codes_is_unseen(shop):
    report, tables = shop
    by_split = defaultdict(set)
    codes = defaultdict(set)
    for row in tables["reasons"]:
        by_split[row.provenance["split"]].add(row.product_id)
        codes[row.provenance["split"]].add((row.labels["topic"], row.labels["emotion"], row.labels["style"]))
    assert not by_split["train"] & by_split["test"]
    assert codes["test"] - codes["train"] == unseen_codes()
    assert len(unseen_codes()) == 8
    assert report.unseen_code_share == pytest.approx(1 / 3)


def test_three_in_ten_of_the_test_brands_are_unseen_also_in_histories(shop):
    report, tables = shop
    products = {product.product_id: product for product in tables["products"]}
    assert 0.25 <= report.unseen_brand_share <= 0.45
    test_products = {row.product_id for row in tables["reasons"] if row.provenance["split"] == "test"}
    assert not test_products & {event.product_id for event in tables["events"]}
    train_brands = {products[row.product_id].brand for row in tables["reasons"] if row.provenance["split"] == "train"}
    assert {products[event.product_id].brand for event in tables["events"]} <= train_brands


def test_every_product_has_reasons_and_every_code_is_met_in_training(shop):
    report, tables = shop
    assert report.num_products_with_reasons == 400
    values = {(control, value) for row in tables["reasons"] if row.provenance["split"] == "train" for control, value in row.labels.items()}
    assert len(values) == 4 + 3 + 2


def test_the_report_is_computed_and_within_what_studies_need(shop):
    report, _ = shop
    assert report.log10_sentences >= 9
    assert report.distinct_share >= 0.98
    for style in ("concise", "detailed"):
        assert 20 <= report.bits_per_request[style].mean <= 30
    assert report.agreements["concise"].lowest >= 6
    assert report.agreements["detailed"].lowest >= 12
    assert report.rare_cell_share["test"] > report.rare_cell_share["train"]
    assert report.attribute_values <= 80
    assert min(report.uncued_share.values()) >= 0.2


def test_progress_is_told(tmp_path):
    told = []
    generate_shop(
        tmp_path, seed=1, users=5, products=60, reasons=20, on_progress=lambda what, done, total: told.append((what, done, total))
    )
    assert told[-1] == ("reasons", 20, 20)


def test_a_shop_too_small_is_refused(tmp_path):
    with pytest.raises(BadInput, match="products >= 50"):
        generate_shop(tmp_path, products=3)


def test_errors_can_be_made_rarer_and_near_duplicates_stay(tmp_path) -> None:
    report = generate_shop(tmp_path / "shop", seed=3, users=20, products=60, reasons=200, errors=0.5)
    assert (report.kinds["hidden_error"], report.kinds["typo"], report.kinds["near_duplicate"]) == (0.03, 0.01, 0.05)
    with pytest.raises(BadInput, match="errors: got 5"):
        generate_shop(tmp_path / "other", users=20, products=60, reasons=200, errors=5)
