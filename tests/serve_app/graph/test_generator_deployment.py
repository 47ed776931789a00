"""Texts for a page, whoever else is writing."""

import asyncio

import pytest

from common.bundle.load import LoadedBundle, load_bundle
from common.domain.context import Context
from common.domain.product import Product
from common.errors import PromptTooLong
from common.generation.candidates import Candidate, Writer
from common.generation.hf import HfEngine
from serve_app.graph.generator_deployment import Generator
from serve_app.graph.quality_deployment import Quality, panel_of
from serve_app.state.live import STARTER

EARBUDS = Context(product=Product(product_id="p1", title="静音蓝牙耳机", category="蓝牙耳机"), controls={"style": "concise"})
SHOES = Context(product=Product(product_id="p2", title="轻云跑鞋", category="跑鞋"))


@pytest.fixture(scope="module")
def bundle(tiny_bundle) -> LoadedBundle:
    return load_bundle(tiny_bundle.path)


@pytest.fixture
def generator(bundle):
    generator = Generator(bundle, slots=8, max_len=512)
    yield generator
    generator.close()


def texts(page: list[list[Candidate]]) -> list[list[str]]:
    return [[candidate.text for candidate in item] for item in page]


def test_what_is_served_is_what_evaluation_writes_for_the_same_bundle(bundle: LoadedBundle, generator: Generator) -> None:
    language = bundle.language
    engine = HfEngine(language.model, eos_ids=[language.eos_id], max_len=512, slots=8, keep_features=True)
    decoding = bundle.manifest.answering.decoding
    writer = Writer(language, engine, bundle.pack.vocabulary, decoding, bundle.manifest.bundle_id)
    expected = texts(writer.write([EARBUDS, SHOES], k=3, attempt=1))

    async def together() -> list[list[list[Candidate]]]:
        pages = ([EARBUDS], [SHOES], [EARBUDS, SHOES])
        return await asyncio.gather(*(generator.write(page, k=3, attempt=1, within_s=None) for page in pages))

    alone, other, both = asyncio.run(together())
    assert texts(both) == expected
    assert texts(alone) + texts(other) == expected


def test_candidates_carry_what_the_discriminator_reads_and_the_panel_scores_them(bundle: LoadedBundle, generator: Generator) -> None:
    page = asyncio.run(generator.write([EARBUDS], k=2, attempt=0, within_s=None))
    features = page[0][0].features
    assert features is not None
    assert features.hidden_TD.dtype.name == "float16"
    verdicts = Quality(panel_of(bundle)).judge([EARBUDS], page)
    assert all(verdict.score is not None for verdict in verdicts[0])


def test_time_that_is_up_leaves_out_what_is_not_finished(generator: Generator) -> None:
    assert asyncio.run(generator.write([EARBUDS, SHOES], k=2, attempt=0, within_s=0.0)) == [[], []]


def test_a_product_too_long_for_the_model_is_named(bundle: LoadedBundle) -> None:
    generator = Generator(bundle, slots=2, max_len=64)
    with pytest.raises(PromptTooLong):
        asyncio.run(generator.write([EARBUDS], k=1, attempt=0, within_s=None))
    generator.close()


def test_a_bundle_without_discriminator_is_judged_by_the_rules_alone(bundle: LoadedBundle) -> None:
    from dataclasses import replace

    bare = replace(bundle, discriminator=None)
    generator = Generator(bare, slots=4, max_len=512)
    page = asyncio.run(generator.write([EARBUDS], k=1, attempt=0, within_s=None))
    generator.close()
    assert page[0][0].features is None
    assert Quality(panel_of(bare)).judge([EARBUDS], page)[0][0].score is None


@pytest.mark.vllm
def test_a_bundle_served_by_vllm_writes_texts_that_the_panel_scores_and_explains_them() -> None:
    bundle = load_bundle(STARTER)
    generator = Generator(bundle, slots=8, max_len=512, engine="vllm")
    generator.warm_up()
    page = asyncio.run(generator.write([EARBUDS, SHOES], k=3, attempt=0, within_s=None))
    explained = asyncio.run(generator.attributed([EARBUDS], [page[0][0].text]))
    generator.close()
    verdicts = Quality(panel_of(bundle)).judge([EARBUDS, SHOES], page)
    assert all(verdict.score is not None for own in verdicts for verdict in own)
    assert [one.control for one in explained[0]] == ["style"]
    assert all(candidate.text for own in page for candidate in own)
