"""Verdicts on a page of candidates: the bundle's discriminator and the pack's checks, in one call. Thin over common/generation/panel."""

from collections.abc import Sequence

from common.bundle.load import LoadedBundle
from common.domain.context import Context
from common.domain.reason import QualityVerdict
from common.generation.candidates import Candidate
from common.generation.panel import Panel
from common.quality.verdict import Checker


def panel_of(bundle: LoadedBundle, checker: Checker | None = None) -> Panel:
    """The same panel that evaluation measured the bundle with. Keeps the embedding table of the base, not the base,
    unless the discriminator reads with it (kind lora_head)."""
    return Panel(checker or Checker(bundle.pack, threshold=bundle.threshold), bundle.discriminator)


class Quality:
    def __init__(self, panel: Panel) -> None:
        self.panel = panel

    def judge(
        self, contexts: Sequence[Context], candidates: Sequence[Sequence[Candidate]], *, checker: Checker | None = None
    ) -> list[list[QualityVerdict]]:
        """`checker`: of the policy that the page began with; None: the panel's own."""
        return Panel(checker or self.panel.checker, self.panel.scorer).verdicts(contexts, candidates)
