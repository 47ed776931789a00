"""Whether a text is as its item asks: what it must mention, what it must not, its length. What is not asked for is not checked."""

from collections.abc import Iterable

from common.domain.constraints import Constraints
from common.domain.reason import CheckResult
from common.text.normalise import squeezed

NAMES = ("must_mention", "must_avoid", "max_chars")


def said(text: str, words: Iterable[str]) -> frozenset[str]:
    """Those of the words that stand in a text, in whatever script, width and case."""
    words = tuple(words)
    held = squeezed(text) if words else ""
    return frozenset(word for word in words if squeezed(word) in held)


def check_constraints(text: str, asked: Constraints) -> tuple[CheckResult, ...]:
    """In the order of NAMES."""
    heard = said(text, (*asked.must_mention, *asked.must_avoid))
    found = {
        "must_mention": [f"“{word}” is not said" for word in asked.must_mention if word not in heard],
        "must_avoid": [f"“{word}” is said" for word in asked.must_avoid if word in heard],
        "max_chars": [f"{len(text)} characters; at most {most} were asked for" for most in [asked.max_chars] if most and len(text) > most],
    }
    return tuple(CheckResult(name=name, passed=not found[name], findings=tuple(found[name])) for name in NAMES if getattr(asked, name))
