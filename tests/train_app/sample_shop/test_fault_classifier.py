"""The evaluator tells clean from spoilt texts of products that it has not met, without the judge's help; the judge only says how well."""

import ast
import random
from pathlib import Path

import numpy as np
import pytest

from common.errors import BadInput
from common.metrics.calibration import auc
from train_app.sample_shop import fault_classifier
from train_app.sample_shop.fault_classifier import fit_fault_classifier
from train_app.sample_shop.judge import judge
from train_app.sample_shop.noise import perturb
from train_app.sample_shop.writer import write

HIDDEN = ("feeling", "scene", "verb", "craft", "touch")


@pytest.fixture(scope="module")
def fitted(requests):
    return fit_fault_classifier(requests(150, seed=1), seed=0, clean_texts=6000, spoilt_from=400)


def test_faults_that_no_check_sees_are_seen_in_requests_it_never_met(fitted, requests) -> None:
    rng = random.Random(2)
    clean = [write(context, rng, flatness=0.5) for context in requests(120, seed=9)]
    spoilt = [(text, one.context) for one in clean for agreement in HIDDEN if (text := perturb(one, agreement, rng)) is not None]
    assert all(judge(one.text, one.context).clean for one in clean)
    assert not any(judge(text, context).clean for text, context in spoilt)
    high, low = fitted.scores(*zip(*spoilt, strict=True)), fitted.scores([c.text for c in clean], [c.context for c in clean])
    assert auc(high, low) > 0.85
    assert np.mean(low >= fitted.threshold) < 0.2


def test_it_says_how_much_it_sees(fitted) -> None:
    assert fitted.measures["auc"] > 0.8
    assert fitted.measures["specificity"] == pytest.approx(0.95, abs=0.02)
    assert 0.3 < fitted.measures["sensitivity"] <= 1


def test_the_same_seed_makes_the_same_evaluator(requests) -> None:
    contexts = requests(60, seed=1)
    one, other = (fit_fault_classifier(contexts, seed=4, clean_texts=300, spoilt_from=60) for _ in range(2))
    texts = [write(context, random.Random(1)).text for context in contexts[:20]]
    assert one.scores(texts, contexts[:20]).tolist() == other.scores(texts, contexts[:20]).tolist()


def test_it_has_neither_judge_nor_checks() -> None:
    tree = ast.parse(Path(fault_classifier.__file__).read_text(encoding="utf-8"))
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in imported if name.endswith("judge") or name.startswith("common.quality")}


def test_too_few_products_are_refused(requests) -> None:
    with pytest.raises(BadInput, match="expected 20 at least"):
        fit_fault_classifier(requests(5, seed=1), seed=0)
