"""Point 4: unseen requests are answered by the model, over HTTP as in evaluation, and the discriminator earns its place."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from common.bundle.load import load_bundle
from train_app.evaluation.evaluate import Evaluation, evaluate
from train_app.evaluation.measures import SELECTION
from train_app.evaluation.subject import subject_of_bundle
from train_app.evaluation.truth import truth_of

pytestmark = pytest.mark.prove

NUM_REQUESTS, PARALLEL = 600, 8
PATIENT = {"X-Deadline-Ms": "60000"}


@pytest.fixture(scope="module")
def asked(shop: Any) -> list[Any]:
    test = shop.splits.test
    return test[:: max(1, len(test) // NUM_REQUESTS)][:NUM_REQUESTS]


@pytest.fixture(scope="module")
def evaluation(bundle: Path, asked: list[Any]) -> Evaluation:
    loaded = load_bundle(bundle)
    subject = subject_of_bundle(loaded, [example.context for example in asked])
    return evaluate(subject, asked, truth=truth_of("sample_shop"), num_samples=len(asked))


def test_requests_make_the_contexts_of_their_examples(shop: Any, asked: list[Any]) -> None:
    assert len(asked) >= 500
    assert [shop.contexts(shop.request(example)) for example in asked] == [[example.context] for example in asked]


def test_the_model_answers_most_unseen_requests(evaluation: Evaluation, figures: Any) -> None:
    told = ("sample.checks", "sample.judge_clean", "answer.model", "answer.judge_clean", "reference.checks", "reference.judge_clean")
    figures.table(
        f"4 evaluation of {evaluation.num_requests} unseen requests, k={evaluation.k}",
        {name: evaluation.measures[name] for name in told},
    )
    assert evaluation.k <= 4
    assert evaluation.measures["answer.model"].value >= 0.70


def test_the_discriminators_choice_is_judge_clean_more_often_than_the_first_that_passes(evaluation: Evaluation, figures: Any) -> None:
    figures.table("4 best of k, by the judge", {name: evaluation.measures[name] for name in SELECTION})
    assert evaluation.measures["best.gain"].value >= 0.10


def test_the_served_graph_agrees_with_evaluation(shop: Any, asked: list[Any], evaluation: Evaluation, server: Any, figures: Any) -> None:
    with httpx2.Client(base_url=server.url, timeout=90, headers=PATIENT) as client, ThreadPoolExecutor(PARALLEL) as pool:
        answers = list(pool.map(lambda example: client.post("/v1/reasons", json=shop.request(example)), asked))
    assert {answer.status_code for answer in answers} == {200}
    items = [answer.json()["items"][0] for answer in answers]
    served = sum(item["source"] == "model" for item in items) / len(items)
    same = sum(item["text"] == sample.answer for item, sample in zip(items, evaluation.samples, strict=True))
    figures.table(
        "4 the same requests over HTTP",
        {
            "answered by the model, evaluation": evaluation.measures["answer.model"].value,
            "answered by the model, HTTP": served,
            "same text": f"{same} of {len(items)}",
            "templates": str({item["degraded"] for item in items if item["source"] != "model"} or "none"),
        },
    )
    assert abs(served - evaluation.measures["answer.model"].value) <= 0.02
