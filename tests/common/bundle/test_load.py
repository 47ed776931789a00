import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
import torch
from peft import PeftModel
from torch.nn.utils.parametrizations import spectral_norm

from common.artifacts.signing import generate_private_key, key_id, public_key
from common.bundle.load import load_bundle, tokenizer_digest
from common.errors import ArtifactNotFound, BundleMismatch, ConfigError, SignatureInvalid
from common.generation.features import token_features
from common.language.base_model import Frame, load_base
from common.packs.load import load_pack
from common.packs.source import shipped
from common.quality.discriminator import Discriminator, discriminator_config

PRIVATE = generate_private_key()


def test_our_merge_is_pefts_merge(parts, written: Path) -> None:
    ours = load_bundle(written).language.model
    theirs = PeftModel.from_pretrained(load_base(str(parts.base)).model, written / "adapter").merge_and_unload()
    expected = theirs.state_dict()
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-6, msg=name)
    assert not torch.equal(
        ours.state_dict()["model.layers.0.self_attn.q_proj.weight"],
        parts.language.model.state_dict()["model.layers.0.self_attn.q_proj.weight"],
    )


def test_a_loaded_bundle_is_what_was_written(parts, written: Path) -> None:
    bundle = load_bundle(written)
    assert bundle.threshold == 0.4
    assert bundle.pack.controls == parts.pack.controls
    assert bundle.pack.policy_version == parts.pack.policy_version
    assert bundle.discriminator is not None
    assert not bundle.discriminator.training
    expected = parts.discriminator.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in bundle.discriminator.state_dict().items())
    assert bundle.canaries is not None
    assert bundle.canaries.from_trained < 1e-5 < bundle.canaries.from_base
    assert bundle.canaries.conclusive


@pytest.mark.parametrize("kind", ["features", "ids", "lora_head"])
def test_every_kind_of_discriminator_judges_as_it_was_written(kind: str, parts, tmp_path: Path) -> None:
    torch.manual_seed(4)
    merged = load_bundle_of(parts, tmp_path / "bare").language.model
    config = discriminator_config(parts.pack.vocabulary, hidden_size=32, kind=kind, channels=8, lora_rank=2)
    trained = Discriminator(config, embedding_VD=merged.get_input_embeddings().weight, base=merged)
    for parameter in trained.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    parts.write(tmp_path / "b", discriminator=trained.eval())
    loaded = load_bundle(tmp_path / "b")
    assert loaded.discriminator is not None
    ids = [[5, 6, 7, 8, 9, 20], [7, 8, 30, 31]]
    features = token_features(merged, ids, prompt_lens=[3, 2])
    controls = [{"style": "concise"}, {}]
    assert loaded.discriminator.score(features, controls) == pytest.approx(trained.score(features, controls), abs=1e-6)
    other = token_features(merged, [[5, 6, 40, 8, 9, 20], [7, 9, 30, 31]], prompt_lens=[3, 2])
    swapped = [replace(one, prompt_ids_P=asked.prompt_ids_P) for one, asked in zip(features, other, strict=True)]
    moved = trained.logits(swapped, controls) != trained.logits(features, controls)
    assert moved is (kind != "features"), "ids and the base read the prompt themselves; features have read it already"


def load_bundle_of(parts, folder: Path):
    parts.write(folder, discriminator=None, calibration=None)
    return load_bundle(folder)


def test_a_bundle_knows_nothing_of_spectral_norm(parts, tmp_path: Path) -> None:
    config = discriminator_config(parts.pack.vocabulary, hidden_size=32, channels=8)
    trained = Discriminator(config, embedding_VD=parts.language.model.get_input_embeddings().weight).eval()
    spectral_norm(trained.read)
    spectral_norm(trained.residual[0])
    parts.write(tmp_path / "b", discriminator=trained.eval())
    loaded = load_bundle(tmp_path / "b").discriminator
    assert loaded is not None
    assert loaded.state_dict().keys() == parts.discriminator.state_dict().keys()
    assert torch.equal(loaded.read.weight, trained.read.weight)
    assert not torch.equal(loaded.read.weight, trained.read.parametrizations.weight.original)


def test_weights_of_one_kind_under_the_configuration_of_another_are_refused(parts, copy) -> None:
    folder = copy()
    config = orjson.loads((folder / "discriminator.json").read_bytes()) | {"kind": "lora_head"}
    changed = discriminator_config(parts.pack.vocabulary, hidden_size=32, channels=8).model_validate(config)
    network = Discriminator(changed, embedding_VD=parts.language.model.get_input_embeddings().weight, base=parts.language.model)
    network.plain_state = parts.discriminator.plain_state
    shutil.rmtree(folder)
    parts.write(folder, discriminator=network.eval())
    with pytest.raises(BundleMismatch, match="discriminator: tensor critic"):
        load_bundle(folder)


def test_bf16_loads_within_its_own_tolerance(written: Path) -> None:
    bundle = load_bundle(written, dtype="bfloat16")
    assert bundle.language.model.dtype == torch.bfloat16
    assert bundle.canaries is not None
    assert bundle.canaries.tolerance > 0.01


def test_a_bundle_without_discriminator_loads(parts, tmp_path: Path) -> None:
    parts.write(tmp_path / "b", discriminator=None, calibration=None)
    assert load_bundle(tmp_path / "b").discriminator is None


def test_verify_false_leaves_out_the_canaries_and_nothing_else(copy) -> None:
    folder = copy()
    assert load_bundle(folder, verify=False).canaries is None
    (folder / "report" / "index.html").write_bytes(b"changed")
    with pytest.raises(Exception, match="expected sha256"):
        load_bundle(folder, verify=False)


def test_a_base_that_moved_is_named_by_the_caller(parts, written: Path, tmp_path: Path) -> None:
    moved = replace(parts.language, source="gone")
    parts.write(tmp_path / "b", language=replace(moved, source=str(tmp_path / "gone")))
    with pytest.raises(ArtifactNotFound, match="name its folder as the base"):
        load_bundle(tmp_path / "b")
    assert load_bundle(tmp_path / "b", base=str(parts.base)).manifest.base.source == str(tmp_path / "gone")


@pytest.mark.parametrize(
    ("change", "named"),
    [({"digest": "0" * 64}, "base: "), ({"frame": Frame(before="<user>", after="")}, "frame: ")],
)
def test_another_base_is_refused_naming_both(parts, written: Path, change: dict[str, object], named: str) -> None:
    other = replace(load_base(str(parts.base)), **change)
    with pytest.raises(BundleMismatch, match=named) as caught:
        load_bundle(written, base=other)
    assert str(other.digest if "digest" in change else "<user>") in str(caught.value)


def test_a_folder_that_is_not_the_bundles_base_is_refused_unparsed(written: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("no JSON: whoever parses this fails otherwise", encoding="utf-8")
    with pytest.raises(BundleMismatch, match=f"base: .*{tmp_path}"):
        load_bundle(written, base=str(tmp_path))


def test_another_tokenizer_is_refused(parts, written: Path) -> None:
    other = load_base(str(parts.base))
    other.tokenizer.add_tokens(["新词"])
    with pytest.raises(BundleMismatch, match="tokenizer: "):
        load_bundle(written, base=other)


def test_padding_settings_are_no_other_tokenizer(parts) -> None:
    language = load_base(str(parts.base))
    language.tokenizer(["a", "理由理由"], padding=True, truncation=True, max_length=4)
    assert tokenizer_digest(language) == tokenizer_digest(parts.language)


def test_a_signed_bundle_says_who_signed_it(parts, tmp_path: Path) -> None:
    parts.write(tmp_path / "b", private_pem=PRIVATE)
    trusted = public_key(PRIVATE)
    assert load_bundle(tmp_path / "b", trusted_pems=[trusted], require_signature=True).signed_by == key_id(trusted)
    with pytest.raises(SignatureInvalid, match="trusted are none"):
        load_bundle(tmp_path / "b", require_signature=True)
    with pytest.raises(SignatureInvalid, match="signed by key"):
        load_bundle(tmp_path / "b", trusted_pems=[public_key(generate_private_key())])


def test_an_unsigned_bundle_loads_and_says_so_unless_signing_is_demanded(written: Path) -> None:
    assert load_bundle(written).signed_by is None
    with pytest.raises(SignatureInvalid, match="not signed"):
        load_bundle(written, trusted_pems=[public_key(PRIVATE)], require_signature=True)


def test_reading_a_manifest_needs_no_torch() -> None:
    code = "import sys, common.bundle.admission, common.bundle.promotion; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def corner_shop(tmp_path: Path) -> Path:
    """A pack from outside: shop's, but for one banned word."""
    folder = tmp_path / "corner-shop"
    folder.mkdir()
    lexicon = shipped("shop").read("lexicon.yaml").decode()
    assert "首选" in lexicon
    (folder / "pack.yaml").write_text("extends: shop\n")
    (folder / "lexicon.yaml").write_text(lexicon.replace("首选", "首推", 1), encoding="utf-8")
    return folder


def test_a_bundle_of_an_outside_pack_answers_with_it_and_not_without(parts, corner_shop: Path, tmp_path: Path) -> None:
    parts.write(tmp_path / "b", pack=load_pack(corner_shop))
    with pytest.raises(ConfigError, match="trained with the pack 'corner_shop', which does not ship here; pass --pack"):
        load_bundle(tmp_path / "b", verify=False)
    bundle = load_bundle(tmp_path / "b", verify=False, policy=str(corner_shop))
    assert (bundle.pack.name, bundle.pack.policy_version) == ("corner_shop", load_pack(corner_shop).policy_version)


def test_another_policy_leaves_a_bundle_its_controls_and_facts(parts, written: Path, corner_shop: Path) -> None:
    bundle = load_bundle(written, verify=False, policy=str(corner_shop))
    assert bundle.pack.controls == parts.pack.controls
    assert bundle.pack.facts == parts.pack.facts
    assert bundle.pack.policy_version != parts.pack.policy_version


def test_a_policy_that_does_not_fit_a_bundle_is_refused_by_name(written: Path, corner_shop: Path) -> None:
    lexicon = (corner_shop / "lexicon.yaml").read_text(encoding="utf-8").replace("scope: [食品, 保健]", "scope: [书籍]", 1)
    facts = shipped("shop").read("facts.yaml").decode()
    (corner_shop / "lexicon.yaml").write_text(lexicon, encoding="utf-8")
    parent = re.search(r"parent: (\S+?)[,}\s]", facts)
    assert parent
    (corner_shop / "facts.yaml").write_text(
        facts.replace(parent.group(0), parent.group(0).replace(parent.group(1), "书籍"), 1), encoding="utf-8"
    )
    load_pack(corner_shop)  # by itself it is sound
    with pytest.raises(ConfigError, match=r"(?s)corner_shop does not fit the controls and facts.*lexicon: rules\.\d+\.scope: got '书籍'"):
        load_bundle(written, verify=False, policy=str(corner_shop))
