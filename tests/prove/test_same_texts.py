"""Point 5: one prompt for training, evaluation and serving; and a text that does not depend on who else is being answered."""

import asyncio
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from common.bundle.load import LoadedBundle, load_bundle
from common.domain.context import Context
from common.generation.answer import AnswerPolicy, Items, answer
from common.generation.candidates import Candidate, sequences
from common.generation.panel import Panel
from common.language.prompt import build_prompt
from common.language.tokens import encode_example
from serve_app.graph.generator_deployment import Generator
from serve_app.graph.quality_deployment import panel_of
from train_app.evaluation.subject import subject_of_bundle

pytestmark = pytest.mark.prove

NUM_REQUESTS, PAGE, PARALLEL = 200, 20, 32
MAX_LEN, SLOTS = 1024, 32
"""As serve_app/config.py has them."""
PATIENT = {"X-Deadline-Ms": "60000"}
WAYS = {"alone": (1, 1), "page of 20": (PAGE, 1), "32 parallel": (1, PARALLEL)}
"""Way of asking -> (items a request, requests at once)."""


@pytest.fixture(scope="module")
def loaded(bundle: Path) -> LoadedBundle:
    return load_bundle(bundle)


@pytest.fixture(scope="module")
def panel(bundle: Path) -> Panel:
    return panel_of(load_bundle(bundle, verify=False))


@pytest.fixture(scope="module")
def pages(shop: Any) -> list[dict[str, Any]]:
    """Ten users with twenty unseen products each, all different, each with codes of its own."""
    test = {example.product_id: example for example in shop.splits.test}
    items = list(test.values())
    users = shop.splits.test[:: len(shop.splits.test) // (NUM_REQUESTS // PAGE)][: NUM_REQUESTS // PAGE]
    chosen = [items[(number * PAGE + place) % len(items)] for number in range(len(users)) for place in range(PAGE)]
    return [
        {"user": shop.user(user), "items": [shop.item(one) for one in chosen[number * PAGE : (number + 1) * PAGE]]}
        for number, user in enumerate(users)
    ]


def singles(pages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [page | {"items": [item]} for page in pages for item in page["items"]]


def test_examples_evaluation_and_serving_have_the_same_prompt_ids(shop: Any, loaded: LoadedBundle, figures: Any) -> None:
    every = [example for part in (shop.splits.train, shop.splits.test) for example in part[:: len(part) // 100][:100]]
    subject = subject_of_bundle(loaded, [example.context for example in every])

    def ids(contexts: Sequence[Context]) -> list[tuple[int, ...]]:
        made = sequences(contexts, language=loaded.language, vocabulary=loaded.pack.vocabulary, run_id="any", k=1, attempt=0)
        return [sequence.prompt_ids for sequence in made]

    trained = []
    for example in every:
        encoded = encode_example(build_prompt(example.context, vocabulary=shop.vocabulary), example.text, loaded.language)
        trained.append(encoded.ids[: encoded.prompt_len])
    evaluated = [sequence.prompt_ids for sequence in _written(subject, every)]
    served = ids([context for example in every for context in shop.contexts(shop.request(example))])
    inline = ids([context for example in every for context in shop.contexts(_inline(shop.request(example), example.context))])
    figures.table(
        "5 prompt ids as in training examples",
        {
            name: f"{sum(a == b for a, b in zip(trained, other, strict=True))} of {len(every)}"
            for name, other in {"evaluation": evaluated, "serving, by id": served, "serving, inline": inline}.items()
        },
    )
    assert len(every) == NUM_REQUESTS
    assert trained == evaluated == served == inline


@pytest.mark.parametrize(("dtype", "at_least"), [("float32", 199), ("bfloat16", 190)])
def test_a_text_does_not_depend_on_its_neighbours(
    shop: Any, bundle: Path, panel: Panel, pages: list[dict[str, Any]], figures: Any, dtype: str, at_least: int
) -> None:
    generator = Generator(load_bundle(bundle, dtype=dtype), slots=SLOTS, max_len=MAX_LEN)
    try:
        asked = {"alone": singles(pages), "page of 20": pages, "32 parallel": singles(pages)}
        texts = {
            way: asyncio.run(_answered([shop.contexts(body) for body in asked[way]], generator, panel, at_once=at_once))
            for way, (_, at_once) in WAYS.items()
        }
    finally:
        generator.close()
    same = tell(figures, f"5 {NUM_REQUESTS} texts, {dtype}, in one engine", texts)
    assert same >= at_least


def test_over_http_neither(pages: list[dict[str, Any]], server: Any, figures: Any) -> None:
    asked = {"alone": singles(pages), "page of 20": pages, "32 parallel": singles(pages)}
    with httpx2.Client(base_url=server.url, timeout=90, headers=PATIENT, limits=httpx2.Limits(max_connections=PARALLEL)) as client:

        def ask(body: dict[str, Any]) -> list[str]:
            reply = client.post("/v1/reasons", json=body)
            assert reply.status_code == 200, reply.text
            return [item["text"] for item in reply.json()["items"]]

        texts = {}
        for way, (_, at_once) in WAYS.items():
            with ThreadPoolExecutor(at_once) as pool:
                texts[way] = [text for page in pool.map(ask, asked[way]) for text in page]
    assert tell(figures, f"5 {NUM_REQUESTS} texts, fp32, over HTTP", texts) >= 199


def tell(figures: Any, title: str, texts: dict[str, list[str]]) -> int:
    """How many texts are the same in every way of asking; the others are shown."""
    rows = list(zip(*texts.values(), strict=True))
    assert len(rows) == NUM_REQUESTS
    different = {f"item {number}": " | ".join(row) for number, row in enumerate(rows) if len(set(row)) > 1}
    counts = {
        f"{way} as alone": f"{sum(a == b for a, b in zip(texts['alone'], other, strict=True))} of {len(rows)}"
        for way, other in texts.items()
    }
    del counts["alone as alone"]
    figures.table(title, counts | {"different texts in all": f"{len(set(texts['alone']))} of {len(rows)}"} | different)
    return len(rows) - len(different)


async def _answered(pages: Sequence[list[Context]], generator: Generator, panel: Panel, *, at_once: int) -> list[str]:
    """The pages through the loop that serves, `at_once` of them at a time, with a clock that stands still."""
    answering, gate = generator.bundle.manifest.answering, asyncio.Semaphore(at_once)

    async def write(items: Items, *, k: int, attempt: int) -> list[list[Candidate]]:
        return await generator.write([context for _, context in items], k=k, attempt=attempt, within_s=None)

    async def judge(contexts: list[Context], candidates: list[list[Candidate]]) -> Any:
        return panel.verdicts(contexts, candidates)

    async def one(contexts: list[Context]) -> list[str]:
        async with gate:
            reasons = await answer(
                contexts,
                write=write,
                judge=judge,
                fill=lambda context: (f"template {context.product.product_id}", panel.checker.judge("", context=context)),
                clock=lambda: 0.0,
                deadline_s=math.inf,
                policy=AnswerPolicy(k=answering.k, max_attempts=answering.max_attempts),
            )
        return [reason.text for reason in reasons]

    return [text for page in await asyncio.gather(*map(one, pages)) for text in page]


def _written(subject: Any, every: Sequence[Any]) -> list[Any]:
    """The sequences that evaluation's writer hands its engine."""
    writer = subject.writer
    contexts = [example.context for example in every]
    return sequences(contexts, language=writer.language, vocabulary=writer.vocabulary, run_id=writer.run_id, k=1, attempt=0)


def _inline(body: dict[str, Any], context: Context) -> dict[str, Any]:
    """The same request with its product in itself, as a shop without a snapshot here would send it."""
    product = context.product
    attributes: dict[str, list[str]] = {}
    for attribute in product.attributes:
        attributes.setdefault(attribute.key, []).append(attribute.value)
    fields = product.model_dump(mode="json", exclude={"attributes", "price"}, exclude_none=True) | {"attributes": attributes}
    if product.price is not None:
        fields |= {"price": float(product.price.amount()), "currency": product.price.currency}
    return body | {"items": [{"product": fields, "controls": body["items"][0]["controls"]}]}
