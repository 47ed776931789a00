"""Which bundle is served: found and admitted once, when the application is built. Loads no model and imports no torch."""

from dataclasses import dataclass
from pathlib import Path

from common.bundle.admission import admit, pack_of
from common.bundle.manifest import BundleManifest
from common.bundle.published import bundle_folder
from common.contract.wire import ModelCard, channel_cards, control_cards
from common.errors import BundleNotFound, ConfigError
from common.packs.schema import Pack

STARTER = Path(__file__).resolve().parents[2] / "common" / "starter" / "bundle"
"""The bundle that ships with the package, so that serving works before anything was trained."""
DEFAULT_ALIAS = "prod"


@dataclass(frozen=True, slots=True)
class Live:
    """An admitted bundle, and the pack it answers with: its own controls and facts under today's policy."""

    manifest: BundleManifest
    pack: Pack
    policy: str | None = None
    """The version of a registry that lexicon, knowledge and templates are of; None: they are the pack's own."""

    def card(self) -> ModelCard:
        return ModelCard(
            bundle_id=self.manifest.bundle_id,
            policy_version=self.pack.policy_version,
            prompt_version=self.manifest.prompt_version,
            base_digest=self.manifest.base.digest,
            base_licence=self.manifest.base.licence,
            controls=control_cards(self.pack.vocabulary),
            channels=channel_cards(self.pack.channels.channels),
        )


def locate_bundle(bundle: str | None, *, registry: str | None) -> Path:
    """The folder of a bundle on this machine: as `bundle_folder` finds it, or the starter. Raises BundleNotFound."""
    if registry is not None:
        return bundle_folder(bundle or DEFAULT_ALIAS, registry)
    folder = STARTER if bundle is None else bundle_folder(bundle, None)
    if not (folder / "manifest.json").is_file():
        remedy = "run `make starter`" if bundle is None else "pass the folder of a bundle, or --registry for a version or alias"
        raise BundleNotFound(f"{folder}: no manifest.json there, so it is no bundle; {remedy}")
    return folder.resolve()


def read_live(folder: Path, *, pack: str | None = None, policy_version: str | None = None) -> Live:
    """Raises what `admit`, `pack_of` and `check_policy` raise: a bundle that fails here is never handed to a replica."""
    admitted = admit(folder)
    return Live(admitted.manifest, check_policy(pack_of(admitted, pack), policy_version))


def check_policy(pack: Pack, expected: str | None) -> Pack:
    """The pack itself. Raises ConfigError where its policy is not the one that the application was deployed with."""
    if expected is not None and pack.policy_version != expected:
        raise ConfigError(
            f"policy_version: the application was deployed with {expected}, pack {pack.name} has {pack.policy_version} now; deploy again"
        )
    return pack
