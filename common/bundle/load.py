"""From a bundle folder to a model that can answer: admitted, its base found and compared, the adapter merged, the canaries asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
import torch
from safetensors.torch import load_file
from torch import Tensor

from common.artifacts.digest import canonical_json, sha256_bytes
from common.bundle.adapters import ADAPTER_PREFIX, PARTS, kind_of, modules_of, split_name
from common.bundle.admission import Admitted, admit, pack_of, read_json
from common.bundle.canaries import CanaryReport, check_canaries
from common.bundle.manifest import ADAPTER_WEIGHTS, DISCRIMINATOR_CONFIG, DISCRIMINATOR_WEIGHTS, AdapterRef, BundleManifest
from common.bundle.tensors import TensorInfo
from common.config import parse
from common.errors import ArtifactNotFound, BundleMismatch, ConfigError
from common.language.base_model import LanguageModel, load_base
from common.language.bottleneck import insert_bottlenecks
from common.packs.schema import Pack
from common.quality.discriminator import Discriminator, DiscriminatorConfig


@dataclass(frozen=True, slots=True)
class LoadedBundle:
    manifest: BundleManifest
    language: LanguageModel
    """The base with the adapter merged into its weights."""
    discriminator: Discriminator | None
    pack: Pack
    """Controls and facts as they were trained with, policy as it is now."""
    signed_by: str | None
    """Key id of the verified signature; None: nobody vouches for this bundle."""
    canaries: CanaryReport | None
    """None when `verify=False`."""

    @property
    def threshold(self) -> float:
        return self.manifest.threshold


def load_bundle(
    path: Path | str,
    *,
    dtype: str | None = None,
    device: str = "cpu",
    verify: bool = True,
    base: str | LanguageModel | None = None,
    policy: str | None = None,
    trusted_pems: Sequence[str] = (),
    require_signature: bool = False,
) -> LoadedBundle:
    """Files, digests, versions and weights are always checked; `verify=False` leaves out only the canaries (one forward pass).

    `dtype` of the weights; None is that in which the bundle was trained and measured. `device`: "cpu" or "cuda". `base`: where the base
    lies on this machine when it is not where the manifest says, or a base that is loaded already, on its own device, and into which the
    adapter is then merged, in place. `policy`: see `pack_of`. Raises ConfigError, BundleNotFound, DigestMismatch, SignatureInvalid,
    BundleMismatch, CanaryFailed; ArtifactNotFound when there is no base.
    """
    admitted = admit(path, trusted_pems=trusted_pems, require_signature=require_signature)
    manifest = admitted.manifest
    pack = pack_of(admitted, policy)
    if device != "cpu" and not torch.cuda.is_available():
        raise ConfigError(
            f"device: got {device!r} and CUDA finds no GPU in this process; take a node and a torch with CUDA, or device: cpu"
        )
    if isinstance(base, LanguageModel):
        language = base
    else:
        language = _base(manifest, source=base, dtype=dtype or manifest.canary_dtype)
        torch.nn.Module.to(language.model, device)
    _check_base(manifest, language)
    check_fit(admitted.adapter, language)
    config, expected = _expected_discriminator(admitted, language)
    merge_adapter(language, load_file(admitted.path / ADAPTER_WEIGHTS), manifest.adapter)
    discriminator = None
    if config is not None:
        _check_discriminator(admitted.discriminator, expected)
        discriminator = Discriminator(config, embedding_VD=_embedding(language), base=language.model)
        discriminator.load_state_dict(load_file(admitted.path / DISCRIMINATOR_WEIGHTS))
        discriminator.to(language.model.device)
        discriminator.eval()
    canaries = check_canaries(manifest, language, vocabulary=pack.vocabulary) if verify else None
    return LoadedBundle(manifest, language, discriminator, pack, admitted.signed_by, canaries)


def merge_adapter(language: LanguageModel, weights: Mapping[str, Tensor], adapter: AdapterRef) -> None:
    """W += alpha / rank * B @ A for every pair, computed in fp32 and rounded once to W's dtype; bottlenecks, which are no sum of weights,
    are put behind their layers. Changes the model in place."""
    if adapter.kind == "bottleneck":
        inserted = insert_bottlenecks(language.model, targets=adapter.targets, size=adapter.rank)
        for module in modules_of(weights, adapter.kind):
            own = inserted[module].requires_grad_(False)
            own.load_state_dict({part.split(".")[1]: weights[f"{ADAPTER_PREFIX}{module}.{part}"] for part in PARTS[adapter.kind]})
        return
    scale = adapter.alpha / adapter.rank
    with torch.no_grad():
        for module in modules_of(weights, adapter.kind):
            weight = language.model.get_submodule(module).weight
            assert isinstance(weight, Tensor)
            lora_a, lora_b = (weights[f"{ADAPTER_PREFIX}{module}.lora_{side}.weight"].to(weight.device, torch.float32) for side in "AB")
            weight.copy_(weight.float() + scale * (lora_b @ lora_a))


def tokenizer_digest(language: LanguageModel) -> str:
    """Of the tokenizer as it runs here, without the padding and truncation that a caller may have set."""
    tokenizer = orjson.loads(language.tokenizer.backend_tokenizer.to_str())
    content = {key: value for key, value in tokenizer.items() if key not in ("padding", "truncation")}
    return sha256_bytes(canonical_json(content))


def check_fit(infos: Mapping[str, TensorInfo], language: LanguageModel) -> None:
    """Raises BundleMismatch when the adapter names a module that the base does not have, or another width, or leaves one of a kind out."""
    modules, kind = dict(language.model.named_modules()), kind_of(infos)
    for name, info in infos.items():
        module, part = split_name(name, kind)
        weight = getattr(modules.get(module), "weight", None)
        if not isinstance(weight, Tensor) or weight.dim() != 2:
            raise BundleMismatch(f"adapter: changes {module}, which {language.source} does not have. Name the base it was trained on.")
        if width := PARTS[kind][part].width:
            axis, wanted = width[0], weight.shape[width[1]]
            if info.shape[axis] != wanted:
                raise BundleMismatch(f"adapter: {name} has shape {list(info.shape)}; {language.source} needs {wanted} on axis {axis}")
    if kind == "bottleneck":  # it is inserted by the last parts of names: one that was left out would start untrained
        changed = modules_of(infos, kind)
        targets = {module.rpartition(".")[2] for module in changed}
        if missing := [name for name in modules if name.rpartition(".")[2] in targets and name not in changed]:
            raise BundleMismatch(f"adapter: has no weights for {missing[0]}, which {language.source} has; write the bundle again")


def _base(manifest: BundleManifest, *, source: str | None, dtype: str) -> LanguageModel:
    """Nothing in it is parsed before its digest is the bundle's: the manifest may name any folder."""
    source = source or manifest.base.source

    def accept(digest: str) -> None:
        _check_same(manifest, "base", manifest.base.digest, digest, source=source)

    try:
        return load_base(source, dtype=dtype, accept=accept)
    except ArtifactNotFound as error:
        raise ArtifactNotFound(
            f"base of {manifest.bundle_id} (digest {manifest.base.digest[:16]}, {manifest.base.licence}): {error} "
            "Bring it to this machine and name its folder as the base."
        ) from error


def _check_base(manifest: BundleManifest, language: LanguageModel) -> None:
    for what, theirs, ours in (
        ("base", manifest.base.digest, language.digest),
        ("tokenizer", manifest.base.tokenizer_digest, tokenizer_digest(language)),
        ("frame", [manifest.frame_before, manifest.frame_after], [language.frame.before, language.frame.after]),
    ):
        _check_same(manifest, what, theirs, ours, source=language.source)


def _check_same(manifest: BundleManifest, what: str, theirs: object, ours: object, *, source: str) -> None:
    if theirs != ours:
        raise BundleMismatch(f"{what}: bundle {manifest.bundle_id} was trained with {theirs}; {source} has {ours}. Name the right base.")


def _expected_discriminator(admitted: Admitted, language: LanguageModel) -> tuple[DiscriminatorConfig | None, dict[str, tuple[int, ...]]]:
    """Its configuration and the shapes that follow from it, found without allocating anything: a stranger wrote the numbers."""
    if not admitted.manifest.has_discriminator:
        return None, {}
    config = parse(read_json(admitted.path / DISCRIMINATOR_CONFIG), DiscriminatorConfig, source=DISCRIMINATOR_CONFIG)
    embedding = _embedding(language)
    if config.hidden_size != embedding.shape[1]:
        raise BundleMismatch(f"discriminator: hidden size {config.hidden_size}; {language.source} has {embedding.shape[1]}")
    controls = admitted.manifest.pack.vocabulary
    if config.controls != controls:
        raise BundleMismatch(f"discriminator: made for controls {config.controls}; the pack has {controls}")
    with torch.device("meta"):
        empty = Discriminator(config, embedding_VD=embedding.to("meta"), base=language.model)
    return config, {name: tuple(tensor.shape) for name, tensor in empty.state_dict().items()}


def _check_discriminator(infos: Mapping[str, TensorInfo], expected: Mapping[str, tuple[int, ...]]) -> None:
    for name in sorted(infos.keys() | expected.keys()):
        got = list(infos[name].shape) if name in infos else "nothing"
        wanted = list(expected[name]) if name in expected else "nothing"
        if got != wanted:
            raise BundleMismatch(f"discriminator: tensor {name}: got {got}; its configuration needs {wanted}")


def _embedding(language: LanguageModel) -> Tensor:
    weight = language.model.get_input_embeddings().weight
    assert isinstance(weight, Tensor)
    return weight
