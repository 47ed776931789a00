"""Which codes a reason is written with. The one order: request, explicit choice, sure estimate, channel, default, no code."""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from common.domain.controls import Controls, ControlVocabulary
from common.features.preferences import Estimate

CONFIDENCE = 0.75
"""An estimate acts only from here on: below it the user has not told the values apart."""
NOTHING: Mapping[str, str] = MappingProxyType({})


def resolve(
    request: Mapping[str, str],
    *,
    explicit: Mapping[str, str],
    estimate: Mapping[str, Estimate],
    vocabulary: ControlVocabulary,
    channel: Mapping[str, str] = NOTHING,
    passed_over: Collection[tuple[str, str]] = (),
    confidence: float = CONFIDENCE,
) -> Controls:
    """The codes in the vocabulary's order; a control without one is left out, and the model is free in it. `channel`: what is asked for
    where the reason is shown; `passed_over`: (control, value) that only a request may ask for here.

    Raises BadControl for a request outside the vocabulary: the caller can mend that. A stored choice, an estimate or a channel's code
    outside it is passed over: it was made for another bundle, and nobody who calls can mend it.
    """
    requested = vocabulary.check(request)
    resolved: Controls = {}
    for control in vocabulary.controls:
        known = {value.name for value in control.values if (control.name, value.name) not in passed_over}
        sure = estimate.get(control.name)
        candidates = (
            explicit.get(control.name),
            sure.value if sure is not None and sure.confidence >= confidence else None,
            channel.get(control.name),
            control.default,
        )
        chosen = requested.get(control.name) or next((value for value in candidates if value in known), None)
        if chosen is not None:
            resolved[control.name] = chosen
    return resolved
