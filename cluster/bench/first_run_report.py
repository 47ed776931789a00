"""What the first run found, as data and as a page. Holds no human text: rows are named by their ids."""

from collections.abc import Mapping
from typing import Self

from pydantic import Field, JsonValue

from common.config import Frozen
from train_app.data.examples import Example

Measures = Mapping[str, Mapping[str, float | None]]
ARMS = {"base": "base, zero-shot", "sft": "SFT", "chosen": "chosen"}
TABLE = {
    "text.bleu4": "BLEU-4, corpus",
    "text.sentence_bleu4": "BLEU-4, mean of sentences",
    "text.chrf": "chrF",
    "text.rouge_l": "ROUGE-L",
    "text.coverage": "attribute coverage",
    "text.fmr": "FMR",
    "text.fcr": "FCR",
    "text.div": "DIV (low is diverse)",
    "text.distinct1": "Distinct-1",
    "text.distinct2": "Distinct-2",
    "text.self_bleu4": "Self-BLEU-4 (low is diverse)",
    "text.unique": "USR",
    "text.repeated": "texts that repeat four characters",
    "text.c2st_auc": "C2ST AUC (.5 is human)",
    "text.chars": "characters",
    "reference.perplexity_char": "perplexity per character of human text",
    "sample.checks": "pass every check",
    "sample.facts": "facts",
    "sample.controls": "codes",
    "sample.compliance": "advertising law",
    "sample.length": "length",
    "sample.language": "language and ending",
    "sample.repetition": "no repetition",
}
SHOWN = {
    "answer.model": "answered by the model",
    "answer.bleu4": "BLEU-4, corpus",
    "answer.rouge_l": "ROUGE-L",
    "answer.coverage": "attribute coverage",
}
CHECKS = ("facts", "controls", "compliance", "length", "language", "repetition")


class Served(Frozen):
    """One answer over HTTP."""

    example_id: str
    category: str
    controls: dict[str, str]
    text: str
    source: str
    score: float | None
    failed: tuple[str, ...] = Field(description="names of the checks that it did not pass")
    attempts: int
    named: str = Field(description="attribute values of the product that the text names, of all it has")

    @classmethod
    def of(cls, example: Example, item: Mapping[str, JsonValue]) -> Self:
        verdict = item["verdict"]
        assert isinstance(verdict, dict)
        checks, text = verdict["checks"], str(item["text"])
        assert isinstance(checks, dict)
        values = dict.fromkeys(attribute.value for attribute in example.context.product.attributes)
        return cls.model_validate(
            {
                "example_id": example.example_id,
                "category": example.context.product.category,
                "controls": item["controls"],
                "text": text,
                "source": item["source"],
                "score": verdict["score"],
                "failed": [name for name, check in checks.items() if isinstance(check, dict) and not check["passed"]],
                "attempts": item["attempts"],
                "named": f"{sum(value in text for value in values)} of {len(values)}",
            }
        )

    def told(self) -> str:
        score = "" if self.score is None else f" {self.score:.2f}"
        codes = ", ".join(f"{name} {value}" for name, value in self.controls.items())
        return f"{self.category} ({codes}): {self.text} [{self.source}{score}; fails {', '.join(self.failed) or 'nothing'}]"


class Results(Frozen):
    """Everything of first_run.json."""

    command: str
    commit: str
    machine: str
    seed: int
    seconds: dict[str, float] = Field(description="wall-clock seconds of each stage")
    config: dict[str, JsonValue]
    num_train: int
    selected: str
    selection: dict[str, float]
    discriminator_auc: dict[str, float]
    adapters: dict[str, str] = Field(description="stage -> digest of the adapter it left")
    measures: dict[str, dict[str, dict[str, float | None]]] = Field(description="base, sft, chosen -> measure -> value, low, high, n")
    served: tuple[Served, ...]
    kobe_config: dict[str, JsonValue]
    kobe_measures: dict[str, float]
    kobe_served: tuple[Served, ...]


def markdown(results: Results) -> str:
    chosen = results.measures["chosen"]
    n = int(chosen["sample.checks"]["n"] or 0)
    minutes = sum(results.seconds.values()) / 60
    by_model = sum(one.source == "model" for one in results.served)
    lines = [
        "# The first run on real copy",
        "",
        f"`{results.command}` at {results.commit}, seed {results.seed}, {results.machine}; {minutes:.0f} minutes in all. All figures with "
        "their intervals: `first_run.json`. Rows and scoring were fixed before training: `first_run_ids.json`.",
        "",
        "Base: Gemma 3 270M in bf16, its vocabulary trimmed to 16,384 tokens counted on training texts (`make base`); Gemma Terms of Use, "
        "so neither it nor anything made from it is in this repository. Data: AdvertiseGen (disputed licence, research use), rows with "
        "placeholders dropped, split by `content`.",
        "",
        f"{results.num_train} training rows went through SFT, discriminator, an adversarial round, filtered fine-tuning, selection and "
        f"calibration. Selection on validation (passes the checks and is accepted): "
        + ", ".join(f"{name} {value:.3f}" for name, value in results.selection.items())
        + f". Shipped: **{results.selected}**. The first discriminator's held-out AUC: "
        + ", ".join(f"{name.removeprefix('auc_')} {value:.3f}" for name, value in results.discriminator_auc.items())
        + ".",
        "",
        f"## {n} unseen rows, one sample each",
        "",
        "| measure | " + " | ".join(ARMS[name] for name in ARMS if name in results.measures) + " | human |",
        "|---|" + "---|" * (len(results.measures) + 1),
    ]
    for name, label in TABLE.items():
        cells = [_cell(results.measures[arm], name) for arm in ARMS if arm in results.measures]
        human = "reference." + name.partition(".")[2]
        lines.append(f"| {label} | " + " | ".join(cells) + f" | {_cell(chosen, human) if not name.startswith('reference') else '–'} |")
    lines += [
        "",
        "A reference pilot with another prompt and its own scoring had BLEU-4 6.3 and ROUGE-L 21.9 after plain SFT on 1,500 rows.",
        "",
        "What the bundle would have shown on the same rows, the best of k that passes, else a template: "
        + "; ".join(f"{label} {_cell(chosen, name)}" for name, label in SHOWN.items())
        + ".",
        "",
        "## What is weak",
        "",
        *weak(results),
        "",
        f"## Served over HTTP: {len(results.served)} products that training never saw, {by_model} answered by the model",
        "",
        *_table(results.served),
        "",
        "## KOBE",
        "",
        f"Imported, {_of(results.kobe_config, 'sft', 'max_steps')} SFT steps of {_of(results.kobe_config, 'sft', 'batch_size')} rows, "
        "bundle, one page served. On "
        f"{_of(results.kobe_config, 'evaluation', 'rows')} rows of its published dev file: "
        + ", ".join(f"{TABLE[name]} {results.kobe_measures[name]:.3g}" for name in TABLE if name in results.kobe_measures)
        + ".",
        "",
        *_table(results.kobe_served),
        "",
        "## Where the time went",
        "",
        "| stage | seconds |",
        "|---|---|",
        *(f"| {name} | {seconds:.0f} |" for name, seconds in results.seconds.items()),
        "",
    ]
    return "\n".join(lines)


def weak(results: Results) -> list[str]:
    """Sentences that the figures themselves say."""
    chosen, sft = results.measures["chosen"], results.measures.get("sft", {})
    said = (
        [f"- {results.selected} was shipped: no other candidate beat plain SFT by a standard error."] if results.selected == "sft" else []
    )
    gaps = {name: _value(chosen, f"reference.{name}") - _value(chosen, f"sample.{name}") for name in CHECKS if f"sample.{name}" in chosen}
    said += [
        f"- {name}: {_value(chosen, f'sample.{name}'):.0%} of samples pass, {_value(chosen, f'reference.{name}'):.0%} of human texts do."
        for name, gap in sorted(gaps.items(), key=lambda pair: -pair[1])
        if gap > 0.02
    ]
    if "text.coverage" in chosen:
        said.append(f"- Samples name {_value(chosen, 'text.coverage'):.0%} of the attribute values, people "
                    f"{_value(chosen, 'reference.coverage'):.0%}.")  # fmt: skip
    if "text.c2st_auc" in chosen:
        said.append(f"- A classifier over character n-grams tells samples from human texts with AUC {_value(chosen, 'text.c2st_auc'):.2f}.")
    for name in ("text.bleu4", "text.rouge_l"):
        if sft and _value(chosen, name) < _value(sft, name):
            said.append(f"- {TABLE[name]} of the chosen model is {_value(sft, name) - _value(chosen, name):.2f} below plain SFT's.")
    said.append("- Details that a sentence invents are not measured: the set's attributes are fewer than what its writers saw.")
    said.append("- One seed; overlap, diversity and C2ST carry no interval.")
    return said


def _table(served: tuple[Served, ...]) -> list[str]:
    rows = [
        f"| `{one.example_id}` {one.category} | {', '.join(one.controls.values())} | {one.text.replace('|', '/')} | "
        f"{one.source} | {'–' if one.score is None else f'{one.score:.2f}'} | {', '.join(one.failed) or 'all passed'} | {one.named} |"
        for one in served
    ]
    return ["| row | codes | text | source | score | checks | values named |", "|---|---|---|---|---|---|---|", *rows]


def _of(config: Mapping[str, JsonValue], section: str, field: str) -> JsonValue:
    found = config[section]
    assert isinstance(found, dict)
    return found[field]


def _value(measures: Measures, name: str) -> float:
    return float(measures[name]["value"] or 0.0)


def _cell(measures: Measures, name: str) -> str:
    if name not in measures:
        return "–"
    value, low, high = _value(measures, name), measures[name].get("low"), measures[name].get("high")
    digits = 1 if abs(value) >= 100 else 2 if abs(value) >= 1.5 else 3
    return f"{value:.{digits}f}" if low is None or high is None else f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
