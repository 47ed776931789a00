"""The page of the first run: figures side by side, what they say, and nothing that people wrote."""

from cluster.bench.first_run import Clock
from cluster.bench.first_run_report import Results, Served, markdown
from common.domain.context import Context
from common.domain.product import Attribute, Product
from train_app.data.examples import Example

HUMAN = "这句话是人写的"
EXAMPLE = Example(
    example_id="e1",
    context=Context(
        product=Product(
            product_id="p", title="裙", category="裙", attributes=(Attribute(key="图案", value="印花"), Attribute(key="裙型", value="百褶"))
        ),
        controls={"style": "concise"},
    ),
    text=HUMAN,
    labels={"style": "concise"},
    product_id="p",
    provenance={},
)
ITEM = {
    "controls": {"style": "concise"},
    "text": "印花|清新",
    "source": "model",
    "attempts": 1,
    "verdict": {"accepted": False, "score": 0.4, "checks": {"facts": {"passed": True}, "language": {"passed": False}}},
}


def measure(value: float) -> dict[str, float | None]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01, "n": 300}


def results(**changes: object) -> Results:
    common = {"reference.language": measure(0.99), "reference.checks": measure(0.9), "reference.coverage": measure(0.8)}
    arms = {
        name: {**common, "sample.checks": measure(checks), "sample.language": measure(0.7), "text.bleu4": measure(bleu)}
        | {"text.rouge_l": measure(20.0), "text.coverage": measure(0.6)}
        for name, checks, bleu in (("base", 0.1, 0.5), ("sft", 0.6, 6.5), ("chosen", 0.7, 6.2))
    }
    config = {"sft": {"max_steps": 100, "batch_size": 8}, "evaluation": {"rows": 60}}
    fields: dict[str, object] = {
        "command": "make real",
        "commit": "c0ffee",
        "machine": "2 cores",
        "seed": 0,
        "seconds": {"advertisegen: sft": 60.0},
        "config": config,
        "num_train": 1458,
        "selected": "filtering 1",
        "selection": {"sft": 0.4, "filtering 1": 0.5},
        "discriminator_auc": {"auc_fake": 0.8},
        "adapters": {},
        "measures": arms,
        "served": (Served.of(EXAMPLE, ITEM),),
        "kobe_config": config,
        "kobe_measures": {"text.bleu4": 3.0},
        "kobe_served": (),
    }
    return Results.model_validate(fields | changes)


def test_base_sft_and_chosen_stand_beside_the_human_texts_figures() -> None:
    page = markdown(results())
    assert "| BLEU-4, corpus | 0.500 [0.490, 0.510] | 6.50 [6.49, 6.51] | 6.20 [6.19, 6.21] | – |" in page
    assert "| language and ending | 0.700 [0.690, 0.710] | 0.700 [0.690, 0.710] | 0.700 [0.690, 0.710] | 0.990 [0.980, 1.000] |" in page


def test_what_is_weak_is_said_by_the_figures() -> None:
    page = markdown(results())
    assert "language: 70% of samples pass, 99% of human texts do" in page
    assert "BLEU-4, corpus of the chosen model is 0.30 below plain SFT's" in page
    assert "no other candidate beat plain SFT" in markdown(results(selected="sft"))


def test_a_served_reason_is_shown_with_its_verdict_and_without_what_a_person_wrote() -> None:
    page = markdown(results())
    assert "| `e1` 裙 | concise | 印花/清新 | model | 0.40 | language | 1 of 2 |" in page
    assert HUMAN not in page + results().model_dump_json()


def test_seconds_go_to_the_stage_that_told_and_are_kept_for_a_run_that_goes_on(tmp_path) -> None:
    file = tmp_path / "out" / "seconds.json"
    first = Clock(file)
    first.told("sft")
    assert set(first.seconds) == {"sft"}
    again = Clock(file)
    assert again.seconds == first.seconds
    with again.part("serving"):
        again.told("sft")
    assert set(Clock(file).seconds) == {"sft", "serving"}
