"""Whether a text has the outward form of a finished one: length, language, an end, no stray characters. The bounds are a pack's data."""

from common.domain.reason import CheckResult
from common.packs.schema import TextForm
from common.text.normalise import DELIMITERS, visible
from common.text.segments import share_of_han

_CLOSING = "”’」』）)》\"'"
_PAIRS = {"“": "”", "‘": "’", "「": "」", "『": "』", "（": "）", "(": ")", "《": "》"}


def check_length(text: str, *, form: TextForm) -> CheckResult:
    """Bounds of any text; the bounds of a style are a matter of codes."""
    findings: tuple[str, ...] = ()
    if not form.min_chars <= len(text) <= form.max_chars:
        findings = (f"{len(text)} characters; expected {form.min_chars} to {form.max_chars}",)
    return CheckResult(name="length", passed=not findings, findings=findings)


def check_language(text: str, *, form: TextForm) -> CheckResult:
    findings = []
    strange = [(i, c) for i, c in enumerate(text) if c == "\n" or not visible(c) or c in DELIMITERS or c == "\ufffd"]
    if strange:
        place, character = strange[0]
        findings.append(f"U+{ord(character):04X} at {place}: a control, invisible or delimiting character has no place in a reason")
    share = share_of_han(text)
    if share < form.min_han_share:
        findings.append(f"{share:.0%} of the letters are Chinese; expected {form.min_han_share:.0%} at least")
    if text != text.strip():
        findings.append("begins or ends with a space")
    end = text.rstrip().rstrip(_CLOSING)[-1:]
    if form.end_marks and (not end or end not in form.end_marks):
        findings.append(f"ends with “{text[-4:]}”: an unfinished sentence; expected one of {form.end_marks} at the end")
    if open_mark := _unbalanced(text):
        findings.append(f"“{open_mark}”: an opening or closing mark without its partner")
    return CheckResult(name="language", passed=not findings, findings=tuple(findings))


def _unbalanced(text: str) -> str | None:
    closers = {close: opening for opening, close in _PAIRS.items()}
    open_marks: list[str] = []
    for character in text:
        if character in _PAIRS:
            open_marks.append(character)
        elif character in closers and (not open_marks or open_marks.pop() != closers[character]):
            return character
    return open_marks[-1] if open_marks else None
