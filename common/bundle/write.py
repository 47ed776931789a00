"""Writes a bundle folder: the same inputs give the same id. Knows how files are laid out, not how any of it was trained."""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import cast

import orjson
import torch
from pydantic import JsonValue
from safetensors.torch import save
from torch import Tensor

from common.artifacts.digest import canonical_json, sha256_bytes
from common.artifacts.signing import sign
from common.bundle.adapters import ADAPTER_PREFIX, adapter_config, check_adapter, kind_of, modules_of
from common.bundle.admission import REPORT_KINDS
from common.bundle.canaries import CanaryExample, make_canaries
from common.bundle.load import merge_adapter, tokenizer_digest
from common.bundle.manifest import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    CONTROLS,
    DISCRIMINATOR_CONFIG,
    DISCRIMINATOR_WEIGHTS,
    FACTS,
    MANIFEST,
    REPORT,
    SIGNATURE,
    AdapterRef,
    Answering,
    BaseRef,
    BundleManifest,
    Calibration,
    FileRef,
    Metric,
    Origin,
    PackRef,
    bundle_id_of,
)
from common.bundle.tensors import TensorInfo
from common.config import parse
from common.errors import AlreadyExists, BadInput, BundleMismatch
from common.language.base_model import LanguageModel
from common.language.prompt import PROMPT_VERSION
from common.packs.schema import Pack
from common.quality.discriminator import Discriminator

_CODES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


def write_bundle(
    out: Path | str,
    *,
    language: LanguageModel,
    base_licence: str,
    adapter: Mapping[str, Tensor],
    alpha: float,
    discriminator: Discriminator | None,
    pack: Pack,
    answering: Answering,
    calibration: Calibration | None,
    metrics: Mapping[str, Metric],
    origin: Origin,
    canaries: Sequence[CanaryExample],
    report: Mapping[str, bytes] | None = None,
    private_pem: str | None = None,
) -> str:
    """Writes the folder `out`, which must not exist, and returns the bundle id.

    `language` is the bare base, without adapter; `adapter` is peft's state dict (get_peft_model_state_dict)
    of a LoRA, or the tensors of bottlenecks under the names of `common.bundle.adapters`. `report` is file name ->
    bytes, for people. Without `private_pem` the bundle is not signed. Raises CanaryFailed for an adapter without effect, BundleMismatch
    for one that does not fit, BadInput for paths in the configuration, AlreadyExists.
    """
    folder = Path(out)
    if folder.exists():
        raise AlreadyExists(f"{folder} exists; a bundle is never written over. Name another folder or remove it.")
    _refuse_paths(origin.config, where="config")
    if discriminator is not None and calibration is not None:
        for name, told in (("temperature", calibration.temperature), ("offset", calibration.offset)):
            used = float(getattr(discriminator, name))
            if not math.isclose(used, told, rel_tol=1e-6):
                raise BundleMismatch(f"calibration: {name} {told}; the discriminator uses {used}. Set it first.")
    weights = {_peft_name(name): tensor.detach().cpu().contiguous() for name, tensor in adapter.items()}
    shape = _adapter_ref(weights, alpha=alpha)
    copied = replace(language, model=deepcopy(language.model))
    merge_adapter(copied, weights, shape)
    files = {
        ADAPTER_CONFIG: canonical_json(adapter_config(shape)),
        ADAPTER_WEIGHTS: save(weights, metadata={"format": "pt"}),
        CONTROLS: canonical_json(pack.controls.model_dump(mode="json")),
        FACTS: canonical_json(pack.facts.model_dump(mode="json")),
        **_report_files(report or {}),
    }
    if discriminator is not None:
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in discriminator.plain_state().items()}
        files[DISCRIMINATOR_CONFIG] = canonical_json(discriminator.config)
        files[DISCRIMINATOR_WEIGHTS] = save(state, metadata={"format": "pt"})
    fields = {
        "format": 1,
        "base": BaseRef(source=language.source, digest=language.digest, tokenizer_digest=tokenizer_digest(language), licence=base_licence),
        "adapter": shape,
        "pack": _pack_ref(pack),
        "prompt_version": PROMPT_VERSION,
        "frame_before": language.frame.before,
        "frame_after": language.frame.after,
        "answering": answering,
        "has_discriminator": discriminator is not None,
        "calibration": calibration,
        "metrics": dict(metrics),
        "origin": origin,
        "canary_dtype": str(next(language.model.parameters()).dtype).removeprefix("torch."),
        "canaries": make_canaries(canaries, base=language, merged=copied, vocabulary=pack.vocabulary),
        "files": {path: FileRef(sha256=sha256_bytes(data), size_bytes=len(data)) for path, data in sorted(files.items())},
    }
    manifest = _with_id(fields)
    _write(folder, files, manifest, private_pem=private_pem)
    return manifest.bundle_id


def _with_id(fields: Mapping[str, object]) -> BundleManifest:
    """The id is of the manifest's JSON form, so the manifest is made once without it and once with it."""
    draft = parse({**fields, "bundle_id": f"lb-{'0' * 32}"}, BundleManifest, source="bundle")
    return draft.model_copy(update={"bundle_id": bundle_id_of(cast(dict[str, JsonValue], draft.model_dump(mode="json")))})


def _write(folder: Path, files: Mapping[str, bytes], manifest: BundleManifest, *, private_pem: str | None) -> None:
    """Into a folder beside it first: a bundle that is there is whole."""
    raw = orjson.dumps(manifest.model_dump(mode="json"), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
    everything = {**files, MANIFEST: raw}
    if private_pem is not None:
        everything[SIGNATURE] = canonical_json(sign(raw, private_pem=private_pem))
    temporary = folder.with_name(f".writing-{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    for path, data in everything.items():
        target = temporary / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    temporary.rename(folder)


def _adapter_ref(weights: Mapping[str, Tensor], *, alpha: float) -> AdapterRef:
    """Rank and targets as the tensors have them. Raises BundleMismatch when they do not agree with each other."""
    if not weights:
        raise BundleMismatch("adapter: an empty state dict; train first, and pass get_peft_model_state_dict(model)")
    infos = {name: TensorInfo(_CODES.get(tensor.dtype, str(tensor.dtype)), tuple(tensor.shape), 0, 0) for name, tensor in weights.items()}
    kind = kind_of(infos)
    down = "bottleneck.down" if kind == "bottleneck" else "lora_A.weight"
    rank = next((info.shape[0] for name, info in infos.items() if name.endswith(down)), 0)
    targets = tuple(sorted({module.rpartition(".")[2] for module in modules_of(infos, kind)}))
    shape = parse({"kind": kind, "rank": rank, "alpha": alpha, "targets": targets}, AdapterRef, source="adapter")
    check_adapter(infos, shape)
    return shape


def _peft_name(name: str) -> str:
    """peft's file layout has no adapter name in it; a live module's state dict has."""
    plain = name.replace(".lora_A.default.weight", ".lora_A.weight").replace(".lora_B.default.weight", ".lora_B.weight")
    return plain if plain.startswith(ADAPTER_PREFIX) else f"{ADAPTER_PREFIX}{plain}"


def _pack_ref(pack: Pack) -> PackRef:
    return PackRef(
        name=pack.name,
        controls_digest=pack.controls.digest,
        facts_digest=pack.facts.digest,
        vocabulary={control.name: tuple(value.name for value in control.values) for control in pack.vocabulary.controls},
        policy_version=pack.policy_version,
    )


def _report_files(report: Mapping[str, bytes]) -> dict[str, bytes]:
    for name in report:
        path = Path(name)
        if path.is_absolute() or ".." in path.parts or path.as_posix() != name or path.suffix.lower() not in REPORT_KINDS:
            raise BadInput(f"report file {name!r}: expected a relative name that ends in one of {', '.join(sorted(REPORT_KINDS))}")
    return {f"{REPORT}{name}": data for name, data in report.items()}


def _refuse_paths(value: JsonValue, *, where: str) -> None:
    """A path in the configuration would make the id depend on the machine, and tell others about it."""
    if isinstance(value, str) and Path(value).is_absolute():
        raise BadInput(
            f"{where}: got the path {json.dumps(value)}; leave it out of `config` and put it into `run`, which the id does not cover"
        )
    if isinstance(value, dict):
        for name, item in value.items():
            _refuse_paths(item, where=f"{where}.{name}")
    if isinstance(value, list):
        for index, item in enumerate(value):
            _refuse_paths(item, where=f"{where}.{index}")
