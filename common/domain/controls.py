"""Control codes: which exist, in which order, and with which words they stand in a prompt. Not how a text is measured against them."""

from collections.abc import Mapping

from pydantic import Field

from common.config import Frozen
from common.errors import BadControl

Controls = dict[str, str]
"""Control -> value, treated as immutable. A control that is absent is "no code": the model is free in it."""


class ControlValue(Frozen):
    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$", description="what the API says (concise)")
    word: str = Field(min_length=1, max_length=12, description="what the prompt says (简洁)")


class Control(Frozen):
    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")
    word: str = Field(min_length=1, max_length=12)
    values: tuple[ControlValue, ...] = Field(min_length=2)
    default: str | None = Field(None, description="value used when neither request nor user says anything; None leaves it free")


class ControlVocabulary(Frozen):
    """The controls of a bundle, in the order in which they stand in the prompt."""

    controls: tuple[Control, ...]

    def check(self, codes: Mapping[str, str]) -> Controls:
        """The codes in the vocabulary's order. Raises BadControl naming the code and what there is."""
        known = {control.name: control for control in self.controls}
        for name, value in codes.items():
            if name not in known:
                raise BadControl(f"controls.{name}: unknown control; this bundle has {', '.join(known)}")
            values = [candidate.name for candidate in known[name].values]
            if value not in values:
                raise BadControl(f"controls.{name}: got {value!r}; expected one of {', '.join(values)}, or leave it out")
        return {name: codes[name] for name in known if name in codes}

    def word(self, control: str, value: str) -> str:
        """The prompt's word for a value that `check` accepted."""
        return next(v.word for c in self.controls if c.name == control for v in c.values if v.name == value)
