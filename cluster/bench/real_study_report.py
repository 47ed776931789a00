"""What the studies of real data found, as data and as a page. Quotes nobody: neither people nor what models learnt from them."""

from collections.abc import Mapping, Sequence

from pydantic import Field

from common.config import Frozen
from train_app.study.config import StudyConfig
from train_app.study.figures import DECODED, SAMPLED, SeedResult
from train_app.study.summary import Comparison, summarise

TITLES = {
    "real": "AdvertiseGen, the trimmed real base",
    "nothing": "AdvertiseGen, the control: 27 M parameters from nothing",
    "kobe": "KOBE, the trimmed real base",
    "amazon": "Amazon Musical Instruments, English, the trimmed real base",
}
ROWS = {
    "text.sentence_bleu4": "BLEU-4, mean of sentences",
    "text.bleu4": "BLEU-4, corpus",
    "text.rouge_l": "ROUGE-L",
    "text.coverage": "attribute coverage",
    "hallucinated": "hallucinated or contradicted (facts check fails)",
    "checks": "pass every check",
    "text.fmr": "FMR",
    "text.fcr": "FCR",
    "text.div": "DIV (low is diverse)",
    "text.unique": "USR",
    "text.distinct2": "Distinct-2",
    "text.self_bleu4": "Self-BLEU-4 (low is diverse)",
    "text.repeated": "texts that repeat four characters",
    "text.c2st_auc": "C2ST AUC (.5 is human)",
    "text.chars": "characters",
    "reference.perplexity_token": "perplexity a token of human text",
    "auc": "discriminator's AUC",
    "core_seconds": "core-seconds since the start, shared samples included",
    "made": "seeds whose round left a policy of its own (else SFT is measured)",
    "varied": "seeds with a decoding that is varied enough (else the most varied is taken)",
}
"""Figure under the arm's own decoding -> what the page calls it."""
PUBLISHED = {
    "real": [
        "ChatGLM-6B trained on all 114,599 rows (public dev file, texts cut at 64 tokens, so indicative): fine-tuned 8.01 / 25.08, "
        "P-tuning v2 8.10 / 24.97, LoRA rank 32 8.08 / 25.17; untuned 4.56 / 18.72 (mean sentence BLEU-4 / ROUGE-L).",
    ],
    "amazon": [
        "No published row is on this set. PETER and PEPLER on TripAdvisor, 15 words a text, their split-1 logs, set the scale alone; "
        "their FMR asks for the feature of the very review, ours for the first of the item's features (those that two or more of its "
        "training reviews name) that the review names:",
        "",
        "| model | BLEU-4 | ROUGE-L F | USR | DIV | FCR | FMR |",
        "|---|---|---|---|---|---|---|",
        "| PETER | 1.12 | 13.15 | .061 | 3.10 | .107 | .069 |",
        "| PETER+, given the feature | 4.47 | 22.89 | .167 | 1.70 | .316 | .886 |",
        "| PEPLER | 1.02 | 12.83 | .203 | 2.65 | .203 | .062 |",
        "| PEPLER MF | 1.27 | 13.09 | .287 | 3.00 | .257 | .077 |",
    ],
}
LEFT_OUT = {("amazon", "text.sentence_bleu4")}
"""Over characters, which says nothing of English; the corpus figure cuts at Chinese characters alone, and is over words there."""
GOALS = (("text.sentence_bleu4", 8.1), ("text.rouge_l", 25.1), ("text.coverage", 0.80))
MOST_HALLUCINATED = 0.5
"""Of the compute-matched baseline's share."""
BASELINE = "A'"


class Goal(Frozen):
    name: str
    expected: str
    found: float | None = Field(description="null: there is nothing to divide by")
    kept: bool


class StudyPart(Frozen):
    """A study of which at least one seed is there."""

    method: str
    titles: dict[str, str] = Field(description="arm -> what it is")
    data: str = Field(description="digest of the snapshot")
    base: str = Field(description="digest of the base")
    seeds: list[int]
    commits: list[str]
    machines: list[str]
    core_minutes: list[float] = Field(description="of each seed, trainings and measuring, of the start that of one of its workers")
    rows: int = Field(description="unseen rows, the same for every seed")
    decodings: dict[str, list[str]] = Field(description="arm -> what was chosen for it on validation, seed by seed")
    human: dict[str, float] = Field(description="figure -> of what people wrote for the same rows; overlap with themselves is left out")
    means: dict[str, dict[str, float]] = Field(description="arm -> figure under its own decoding -> mean over seeds")
    by_seed: dict[str, dict[str, list[float]]] = Field(description="the same, seed by seed")
    comparisons: list[Comparison]


class RealResults(Frozen):
    """Everything of real.json."""

    command: str
    commit: str
    machine: str
    studies: dict[str, StudyPart]

    @property
    def goals(self) -> list[Goal]:
        """Of the method on AdvertiseGen; none before a seed is there."""
        part = self.studies.get("real")
        if part is None:
            return []
        ours = part.means[part.method]
        found = [Goal(name=ROWS[name], expected=f">= {bar}", found=ours[name], kept=ours[name] >= bar) for name, bar in GOALS]
        wrong = part.means[BASELINE]["hallucinated"]
        ratio = ours["hallucinated"] / wrong if wrong else None
        kept_there = ratio is not None and ratio <= MOST_HALLUCINATED
        name = f"hallucinated, {part.method} over {BASELINE}"
        return [*found, Goal(name=name, expected=f"<= {MOST_HALLUCINATED}", found=ratio, kept=kept_there)]


def part_of(config: StudyConfig, results: Sequence[SeedResult]) -> StudyPart:
    """Of the seeds that are there, at least one."""
    summary = summarise(config, results)
    by_seed: dict[str, dict[str, list[float]]] = {}
    for arm in config.arms:
        rows = [_figures(one.arms[arm].figures) | {"core_seconds": sum(one.arms[arm].core_seconds.values())} for one in results]
        by_seed[arm] = {name: [round(row[name], 6) for row in rows] for name in rows[0] if all(name in row for row in rows)}
    written = results[0].reference
    human = {name: bits.share for name, bits in written.outcomes.items()} | {
        name: value for name, value in written.figures.items() if name in ROWS and not name.endswith(("bleu4", "rouge_l", "c2st_auc"))
    }
    return StudyPart(
        method=config.method,
        titles={name: arm.title for name, arm in config.arms.items()},
        data=results[0].data,
        base=results[0].base,
        seeds=[one.seed for one in results],
        commits=[one.commit for one in results],
        machines=[one.machine for one in results],
        core_minutes=[round(one.core_minutes, 1) for one in results],
        rows=len(results[0].prompts),
        decodings={arm: [_decoding(one.arms[arm].decoding.model_dump()) for one in results] for arm in config.arms},
        human=human,
        means={arm: {name: round(sum(values) / len(values), 6) for name, values in row.items()} for arm, row in by_seed.items()},
        by_seed=by_seed,
        comparisons=[one for one in summary.comparisons if one.taken in (SAMPLED, DECODED)],
    )


def _figures(figures: Mapping[str, float]) -> dict[str, float]:
    """Under the arm's own decoding, by their own names, with those that have no way of being taken."""
    prefix = f"{DECODED}."
    return {name.removeprefix(prefix): value for name, value in figures.items() if name.startswith(prefix) or "." not in name}


def _decoding(fields: Mapping[str, object]) -> str:
    return f"T {fields['temperature']}" + (f", top-p {fields['top_p']}" if fields["top_p"] != 1.0 else "")


def markdown(results: RealResults) -> str:
    lines = [
        "# Real data",
        "",
        f"`{results.command}`; written at {results.commit} on {results.machine}. Which rows are scored and how stood in "
        "`real_ids.json` before anything was trained. Every figure, seed by seed, and every comparison: `real.json`; outcomes row by row: "
        "`real-*/seed-*.json`. Licences: AdvertiseGen disputed, KOBE and Amazon research use; the base under the Gemma Terms of Use. "
        "Neither texts nor weights are here.",
        "",
    ]
    if results.goals:
        lines += ["| goal | expected | found | |", "|---|---|---|---|"]
        lines += [f"| {g.name} | {g.expected} | {_number(g.found)} | {'kept' if g.kept else '**missed**'} |" for g in results.goals]
        lines.append("")
    for name, part in results.studies.items():
        lines += [*section(name, part), ""]
    return "\n".join(lines)


def section(name: str, part: StudyPart) -> list[str]:
    arms = list(part.means)
    minutes = ", ".join(f"{one:.0f}" for one in part.core_minutes)
    over = "seeds and rows" if len(part.seeds) > 1 else "rows alone: one training an arm, whose own chance is not in it"
    lines = [
        f"## {TITLES[name]}",
        "",
        f"{part.rows} unseen rows; seeds {', '.join(map(str, part.seeds))}, {minutes} core-minutes (of the start one worker's); "
        "mean over seeds, each arm under its own decoding.",
        "",
        *(f"- {arm}: {title}. {'; '.join(part.decodings[arm])}" for arm, title in part.titles.items()),
        "",
        f"| | {' | '.join(arms)} | human |",
        "|---|" + "---|" * (len(arms) + 1),
    ]
    for figure, label in ROWS.items():
        if any(figure in part.means[arm] for arm in arms) and (name, figure) not in LEFT_OUT:
            cells = " | ".join(_number(part.means[arm].get(figure)) for arm in arms)
            lines.append(f"| {label} | {cells} | {_number(part.human.get(figure))} |")
    lines += [
        "",
        f"Difference of {part.method}, paired by row, 95 % interval of the bootstrap over {over}:",
        "",
        "| | checks pass | hallucinated |",
        "|---|---|---|",
    ]
    others = [arm for arm in arms if arm != part.method]
    lines += [f"| over {arm} | {_difference(part, arm, 'checks')} | {_difference(part, arm, 'hallucinated')} |" for arm in others]
    return [*lines, *([""] + PUBLISHED[name] if name in PUBLISHED else [])]


def _difference(part: StudyPart, arm: str, outcome: str) -> str:
    found = [one for one in part.comparisons if (one.second, one.taken, one.outcome) == (arm, DECODED, outcome)]
    if not found:
        return "–"
    one = found[0].difference
    over_seeds = "" if one.t_low is None else f", t over seeds [{one.t_low:+.3f}, {one.t_high:+.3f}]"
    return f"{one.value:+.3f} [{one.low:+.3f}, {one.high:+.3f}]{over_seeds}"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) >= 1.5 else f"{value:.3f}"
