"""Whether a text says the same thing over and over, as a model does that has lost its way."""

import re
from collections import Counter

from common.domain.reason import CheckResult
from common.text.segments import clauses, ngrams

MAX_RUN = 4
"""Equal characters in a row, punctuation included; 哈哈哈 is speech, 哈哈哈哈哈 is not."""
REPEATED_CHARS = 8
"""A run of this length that occurs twice is no coincidence: category nouns and brands are shorter."""
MAX_EQUAL_TRIGRAMS = 4
MIN_DISTINCT_SHARE = 0.6
"""Of bigrams, in texts of at least 24 characters."""
_RUN = re.compile(rf"(\S)\1{{{MAX_RUN},}}")
_MARKS = re.compile(r"[，。！？；：、,!?;:]{2,}")


def check_repetition(text: str, *, quotable: tuple[str, ...] = ()) -> CheckResult:
    """`quotable`: names that a text may repeat (title, category, brand); they count once."""
    findings = []
    body = text
    for name in sorted(quotable, key=len, reverse=True):
        if len(name) > 1:
            body = body.replace(name, "□")
    if run := _RUN.search(text):
        findings.append(f"“{run.group()}” at {run.start()}: more than {MAX_RUN} equal characters in a row")
    if (marks := _MARKS.search(text)) and len(set(marks.group()) - set("！？!?")) > 0:
        findings.append(f"“{marks.group()}” at {marks.start()}: punctuation marks that do not follow each other")
    seen: set[str] = set()
    for clause, span in clauses(body):
        if len(clause) >= 4 and clause in seen:
            findings.append(f"“{clause}” at {span[0]}: this clause stands twice")
        seen.add(clause)
    if not findings:
        twice = _twice(body)
        if twice:
            findings.append(f"“{twice}” stands twice")
    bigrams = ngrams(body, 2)
    if len(body) >= 24 and len(set(bigrams)) < MIN_DISTINCT_SHARE * len(bigrams):
        findings.append(
            f"{len(set(bigrams))} of {len(bigrams)} pairs of characters are distinct; expected {MIN_DISTINCT_SHARE:.0%} at least"
        )
    trigram, times = max(Counter(g for g in ngrams(body, 3) if "□" not in g).items(), key=lambda item: item[1], default=("", 0))
    if times > MAX_EQUAL_TRIGRAMS:
        findings.append(f"“{trigram}” stands {times} times")
    return CheckResult(name="repetition", passed=not findings, findings=tuple(findings))


def _twice(text: str) -> str | None:
    """The first run of REPEATED_CHARS characters that occurs again later without overlapping itself."""
    first: dict[str, int] = {}
    for start, run in enumerate(ngrams(text, REPEATED_CHARS)):
        if start - first.setdefault(run, start) >= REPEATED_CHARS:
            return run
    return None
