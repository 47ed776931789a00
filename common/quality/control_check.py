"""Whether a text is as its codes ask, by the cues and lengths of the pack. That no cue is found says nothing about a text."""

from common.domain.controls import Controls
from common.domain.reason import CheckResult
from common.packs.schema import ControlPack, MeasuredControl
from common.text.normalise import fold
from common.text.phrases import PhraseSet


class ControlMeter:
    """The cues of a pack, compiled once."""

    def __init__(self, pack: ControlPack) -> None:
        self._controls = pack.controls
        self._owner = {
            control.name: {fold(cue)[0]: value.name for value in control.values for cue in value.cues} for control in pack.controls
        }
        self._cues = {name: PhraseSet(owner) for name, owner in self._owner.items()}

    def measured(self, text: str) -> Controls:
        """The value that each control shows: most cues (first found among equals), or the range of length; absent where none."""
        folded = fold(text)[0]
        found = {}
        for control in self._controls:
            value = self._by_length(text, control) if control.measured_by == "length" else self._by_cues(folded, control)
            if value is not None:
                found[control.name] = value
        return found

    def check(self, text: str, *, controls: Controls) -> CheckResult:
        """Fails on a cue of another value of a control where the asked one has none, and on a length outside the asked range."""
        faults, remarks = [], []
        folded = fold(text)[0]
        for control in self._controls:
            asked = controls.get(control.name)
            if asked is None:
                continue
            if control.measured_by == "length":
                low, high = next((v.chars for v in control.values if v.name == asked and v.chars), (1, 0))
                if not low <= len(text) <= high:
                    faults.append(f"{control.name}={asked}: {len(text)} characters; expected {low} to {high}")
                continue
            hits = self.cues(folded, control.name)
            if not hits:
                remarks.append(f"{control.name}={asked}: no cue of any value was found")
            elif asked not in hits.values():
                cue, other = next(iter(hits.items()))
                faults.append(f"{control.name}={asked}: “{cue}” speaks of {other}, and nothing of {asked}")
        return CheckResult(name="controls", passed=not faults, findings=tuple(faults + remarks))

    def cues(self, folded: str, control: str) -> dict[str, str]:
        """Cue -> value, in the order in which they stand in the folded text."""
        owner = self._owner[control]
        return {hit.phrase: owner[hit.phrase] for hit in self._cues[control].find(folded)}

    def _by_cues(self, folded: str, control: MeasuredControl) -> str | None:
        values = list(self.cues(folded, control.name).values())
        return max(values, key=values.count) if values else None

    def _by_length(self, text: str, control: MeasuredControl) -> str | None:
        return next((v.name for v in control.values if v.chars and v.chars[0] <= len(text) <= v.chars[1]), None)


def check_controls(text: str, *, controls: Controls, pack: ControlPack) -> CheckResult:
    """One text; for many keep a `ControlMeter`."""
    return ControlMeter(pack).check(text, controls=controls)


def measured(text: str, pack: ControlPack) -> Controls:
    """One text; for many keep a `ControlMeter`."""
    return ControlMeter(pack).measured(text)
