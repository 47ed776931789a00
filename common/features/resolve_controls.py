"""Which codes a reason is written with. The one order: request, explicit choice, sure estimate, default, no code."""

from collections.abc import Mapping

from common.domain.controls import Controls, ControlVocabulary
from common.features.preferences import Estimate

CONFIDENCE = 0.75
"""An estimate acts only from here on: below it the user has not told the values apart."""


def resolve(
    request: Mapping[str, str],
    *,
    explicit: Mapping[str, str],
    estimate: Mapping[str, Estimate],
    vocabulary: ControlVocabulary,
    confidence: float = CONFIDENCE,
) -> Controls:
    """The codes in the vocabulary's order; a control without one is left out, and the model is free in it.

    Raises BadControl for a request outside the vocabulary: the caller can mend that. A stored choice or estimate outside it is passed
    over: it was made for another bundle, and nobody who calls can mend it.
    """
    requested = vocabulary.check(request)
    resolved: Controls = {}
    for control in vocabulary.controls:
        known = {value.name for value in control.values}
        sure = estimate.get(control.name)
        candidates = (
            requested.get(control.name),
            explicit.get(control.name),
            sure.value if sure is not None and sure.confidence >= confidence else None,
            control.default,
        )
        chosen = next((value for value in candidates if value in known), None)
        if chosen is not None:
            resolved[control.name] = chosen
    return resolved
