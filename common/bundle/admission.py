"""Everything about a bundle folder that can be checked before a model is loaded: id, signature, files, versions, headers, weights.

A bundle is a stranger's file until all of this has passed. Nothing is unpickled, no code in it is run, no path in it is followed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import orjson
from pydantic import ValidationError

from common.artifacts.digest import sha256_file
from common.artifacts.signing import Signature, verify
from common.bundle.adapters import adapter_config, check_adapter
from common.bundle.manifest import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    CONTROLS,
    DISCRIMINATOR_CONFIG,
    DISCRIMINATOR_WEIGHTS,
    FACTS,
    MANIFEST,
    MAX_RANK,
    REPORT,
    SIGNATURE,
    TARGETS,
    AdapterRef,
    BundleManifest,
)
from common.bundle.tensors import TensorInfo, read_header, refuse_non_finite
from common.config import describe, parse
from common.errors import BundleMismatch, BundleNotFound, ConfigError, DigestMismatch, SignatureInvalid
from common.language.prompt import PROMPT_VERSION
from common.packs.load import load_pack, under_policy
from common.packs.schema import ControlPack, FactPack, Pack
from common.packs.source import shipped_names

MAX_JSON_BYTES = 1 << 24
PICKLES = frozenset([".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz"])
REPORT_KINDS = frozenset([".html", ".css", ".png", ".svg", ".json", ".jsonl", ".csv", ".md", ".txt"])
REQUIRED = (ADAPTER_CONFIG, ADAPTER_WEIGHTS, CONTROLS, FACTS)
DISCRIMINATOR = (DISCRIMINATOR_CONFIG, DISCRIMINATOR_WEIGHTS)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A folder that passed."""

    path: Path
    manifest: BundleManifest
    signed_by: str | None
    """Key id of a signature that was verified; None: not signed, or no trusted keys were given."""
    controls: ControlPack
    facts: FactPack
    adapter: dict[str, TensorInfo]
    discriminator: dict[str, TensorInfo]
    """Empty when the bundle has none."""


def admit(path: Path | str, *, trusted_pems: Sequence[str] = (), require_signature: bool = False) -> Admitted:
    """Raises BundleNotFound, DigestMismatch (bytes), SignatureInvalid, or BundleMismatch (this build cannot run it as it was trained)."""
    folder = Path(path)
    manifest, raw = read_manifest(folder)
    signed_by = _signed_by(folder, raw, trusted_pems=trusted_pems, required=require_signature)
    _check_files(folder, manifest)
    if manifest.prompt_version != PROMPT_VERSION:
        raise BundleMismatch(
            f"bundle {manifest.bundle_id} was trained with prompt v{manifest.prompt_version}; this build has v{PROMPT_VERSION}. "
            "Deploy the matching image, or train again."
        )
    controls = parse(read_json(folder / CONTROLS), ControlPack, source=CONTROLS)
    facts = parse(read_json(folder / FACTS), FactPack, source=FACTS)
    _check_pack(manifest, controls, facts)
    _check_adapter_config(read_json(folder / ADAPTER_CONFIG), manifest.adapter)
    adapter = read_header(folder / ADAPTER_WEIGHTS)
    check_adapter(adapter, manifest.adapter)
    refuse_non_finite(folder / ADAPTER_WEIGHTS, adapter)
    discriminator = {}
    if manifest.has_discriminator:
        discriminator = read_header(folder / DISCRIMINATOR_WEIGHTS)
        refuse_non_finite(folder / DISCRIMINATOR_WEIGHTS, discriminator)
    return Admitted(folder, manifest, signed_by, controls, facts, adapter, discriminator)


def pack_of(admitted: Admitted, policy: str | None = None) -> Pack:
    """What a bundle answers with: its own controls and facts under the lexicon, knowledge and templates of `policy`, the name, folder or
    s3:// URI of a pack; None takes the pack that ships under the name it was trained with.

    Raises ConfigError where that is none, or where the policy does not fit the bundle.
    """
    name = admitted.manifest.pack.name
    if policy is None and name not in shipped_names():
        raise ConfigError(f"bundle {admitted.manifest.bundle_id} was trained with the pack {name!r}, which does not ship here; pass --pack")
    return under_policy(load_pack(policy or name), controls=admitted.controls, facts=admitted.facts)


def read_manifest(folder: Path) -> tuple[BundleManifest, bytes]:
    """The manifest, its id recomputed, and its bytes. Raises BundleNotFound or DigestMismatch."""
    file = folder / MANIFEST
    if file.is_symlink() or not file.is_file():
        raise BundleNotFound(f"{folder}: no {MANIFEST} there; expected the folder of a bundle")
    return parse_manifest(_bounded(file), source=str(file))


def parse_manifest(raw: bytes, *, source: str) -> tuple[BundleManifest, bytes]:
    try:
        manifest = BundleManifest.model_validate_json(raw)
    except ValidationError as error:
        raise BundleMismatch(f"{source}: not a manifest that this build reads:\n{describe(error)[:1000]}") from error
    if manifest.bundle_id != manifest.expected_id():
        raise DigestMismatch(f"{source}: says it is {manifest.bundle_id}, but its content is {manifest.expected_id()}: it was changed")
    return manifest, raw


def _check_files(folder: Path, manifest: BundleManifest) -> None:
    allowed = {*REQUIRED, *(DISCRIMINATOR if manifest.has_discriminator else ())}
    for name in manifest.files:
        plain = PurePosixPath(name)
        if plain.is_absolute() or ".." in plain.parts or "\\" in name or plain.as_posix() != name:
            raise BundleMismatch(f"manifest: file {name!r} leaves the bundle's folder; refused")
        if plain.suffix.lower() in PICKLES:
            raise BundleMismatch(f"manifest: file {name!r} may hold a pickle, and reading one runs its code; only safetensors are accepted")
        if name not in allowed and not (name.startswith(REPORT) and plain.suffix.lower() in REPORT_KINDS):
            raise BundleMismatch(f"manifest: unexpected file {name!r}; expected {', '.join(sorted(allowed))} and {REPORT}*")
    for name in sorted(allowed - manifest.files.keys()):
        raise BundleMismatch(f"manifest: does not list {name}, which every such bundle has; write it again")
    found = set()
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise BundleMismatch(f"{name} is a symbolic link; a bundle holds its own files")
        if path.is_dir():
            continue
        if path.suffix.lower() in PICKLES:
            raise BundleMismatch(f"{name} may hold a pickle, and reading one runs its code; only safetensors are accepted")
        if name not in manifest.files and name not in (MANIFEST, SIGNATURE):
            raise BundleMismatch(f"unexpected file {name}: the manifest does not list it. Remove it, or write the bundle again.")
        found.add(name)
    for name, file in manifest.files.items():
        if name not in found:
            raise DigestMismatch(f"{name} is missing; the manifest lists it with {file.size_bytes} bytes. Copy the bundle again.")
        if (got := sha256_file(folder / name)) != file.sha256:
            raise DigestMismatch(f"{name}: expected sha256 {file.sha256}, got {got}. The file was changed or copied badly.")


def _signed_by(folder: Path, raw: bytes, *, trusted_pems: Sequence[str], required: bool) -> str | None:
    file = folder / SIGNATURE
    if not file.is_file():
        if required:
            raise SignatureInvalid(f"{folder.name}: not signed, and a signature is required. Sign it with a trusted key.")
        return None
    if not trusted_pems and not required:
        return None
    signature = parse(read_json(file), Signature, source=SIGNATURE)
    verify(raw, signature=signature, trusted_pems=trusted_pems)
    return signature.key_id


def _check_pack(manifest: BundleManifest, controls: ControlPack, facts: FactPack) -> None:
    for part, theirs, ours in (
        ("controls", manifest.pack.controls_digest, controls.digest),
        ("facts", manifest.pack.facts_digest, facts.digest),
    ):
        if theirs != ours:
            raise BundleMismatch(f"pack {part}: the manifest says digest {theirs}, this build reads {ours} from the bundle's own file")
    carried = {control.name: tuple(value.name for value in control.values) for control in controls.vocabulary.controls}
    if carried != manifest.pack.vocabulary:
        raise BundleMismatch(f"control vocabulary: the manifest says {_spell(manifest.pack.vocabulary)}, the pack has {_spell(carried)}")


def _spell(vocabulary: dict[str, tuple[str, ...]]) -> str:
    return "; ".join(f"{name}={'|'.join(values)}" for name, values in vocabulary.items())


def _check_adapter_config(found: object, adapter: AdapterRef) -> None:
    """Equality, not a list of dangers: a key that we did not write (auto_map, a path) is refused by being there."""
    if any(target not in TARGETS for target in adapter.targets) or adapter.rank > MAX_RANK:
        raise BundleMismatch(f"adapter: targets {', '.join(adapter.targets)}; expected some of {', '.join(TARGETS)}")
    wanted = adapter_config(adapter)
    if not isinstance(found, dict):
        raise BundleMismatch(f"{ADAPTER_CONFIG}: expected an object, got {type(found).__name__}")
    for key in sorted(wanted.keys() | found.keys()):
        if key not in wanted or key not in found or found[key] != wanted[key]:
            got, expected = (f"{side[key]!r:.80}" if key in side else "nothing" for side in (found, wanted))
            raise BundleMismatch(f"{ADAPTER_CONFIG}: {key}: got {got}; expected {expected} as the manifest says")


def _bounded(path: Path) -> bytes:
    if (size := path.stat().st_size) > MAX_JSON_BYTES:
        raise BundleMismatch(f"{path.name}: {size} bytes; expected at most {MAX_JSON_BYTES}")
    return path.read_bytes()


def read_json(path: Path) -> object:
    """A file of a bundle. Raises BundleMismatch for one that is no JSON, or too large."""
    try:
        return orjson.loads(_bounded(path))
    except orjson.JSONDecodeError as error:
        raise BundleMismatch(f"{path.name}: not JSON: {error}") from error
