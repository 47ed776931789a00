from dataclasses import replace
from pathlib import Path

import pytest

from common.bundle.admission import read_manifest
from common.bundle.canaries import check_canaries
from common.bundle.load import load_bundle
from common.errors import CanaryFailed
from common.language.base_model import load_base


def test_the_bare_base_is_recognised(parts, written: Path) -> None:
    manifest, _ = read_manifest(written)
    with pytest.raises(CanaryFailed, match="bare base: the adapter has no effect"):
        check_canaries(manifest, load_base(str(parts.base)), vocabulary=parts.pack.vocabulary)


def test_the_bare_base_is_recognised_even_when_the_adapter_moves_it_little(parts, tmp_path: Path) -> None:
    faint = {name: tensor * 0.02 for name, tensor in parts.adapter.items()}
    parts.write(tmp_path / "faint", adapter=faint)
    bundle = load_bundle(tmp_path / "faint")
    assert bundle.canaries is not None
    assert not bundle.canaries.conclusive
    with pytest.raises(CanaryFailed, match="bare base"):
        check_canaries(bundle.manifest, load_base(str(parts.base)), vocabulary=parts.pack.vocabulary)


@pytest.mark.parametrize("strength", [0.5, 0.2, 0.1])
def test_the_bare_base_is_recognised_in_bf16_too_far_inside_what_bf16_is_allowed(parts, tmp_path: Path, strength: float) -> None:
    parts.write(tmp_path / "faint", adapter={name: tensor * strength for name, tensor in parts.adapter.items()})
    bundle = load_bundle(tmp_path / "faint", dtype="bfloat16")
    assert bundle.canaries is not None
    assert bundle.canaries.from_base < bundle.canaries.tolerance
    with pytest.raises(CanaryFailed, match="bare base"):
        check_canaries(bundle.manifest, load_base(str(parts.base), dtype="bfloat16"), vocabulary=parts.pack.vocabulary)


def test_what_bf16_cannot_tell_is_not_taken_for_the_base(parts, tmp_path: Path) -> None:
    parts.write(tmp_path / "faint", adapter={name: tensor * 0.01 for name, tensor in parts.adapter.items()})
    report = load_bundle(tmp_path / "faint", dtype="bfloat16").canaries
    assert report is not None
    assert report.from_base < 2 * report.from_trained


def test_a_drifted_model_is_recognised(parts, written: Path) -> None:
    language = load_bundle(written).language
    language.model.get_submodule("model.norm").weight.data.mul_(1.05)
    with pytest.raises(CanaryFailed, match=r"allows 0\.002"):
        check_canaries(read_manifest(written)[0], language, vocabulary=parts.pack.vocabulary)


def test_a_prompt_that_encodes_differently_is_named_with_both_ids(parts, written: Path) -> None:
    language = load_bundle(written).language
    with pytest.raises(CanaryFailed, match=r"its prompt was .* when trained"):
        check_canaries(read_manifest(written)[0], replace(language, bos_id=5), vocabulary=parts.pack.vocabulary)


def test_an_answer_that_ends_differently_is_named(parts, written: Path) -> None:
    language = load_bundle(written).language
    with pytest.raises(CanaryFailed, match="its answer was"):
        check_canaries(read_manifest(written)[0], replace(language, eos_id=5), vocabulary=parts.pack.vocabulary)
