"""A policy goes into a registry and comes back as it was, signed or not, under the controls and facts of any bundle that it fits."""

from pathlib import Path

import pytest

from common.artifacts.registry import Registry
from common.artifacts.signing import Keyring, Signer, generate_private_key, public_key
from common.artifacts.storage import open_storage
from common.errors import BadInput, ConfigError, DigestMismatch, SignatureInvalid
from common.packs.lexicon import Lexicon
from common.packs.load import load_pack, under_policy
from common.packs.policy import changes, publish_policy, read_policy
from common.packs.schema import Pack

SHOP = load_pack("shop")
PRIVATE = generate_private_key()


@pytest.fixture
def store(tmp_path: Path) -> Registry:
    return Registry(open_storage(tmp_path / "registry"))


def other(**fields: object) -> Pack:
    """The shop's pack with another lexicon, made anew: a digest that was computed once stays with copies."""
    parts = {name: getattr(SHOP, name) for name in Pack.model_fields}
    return Pack.model_validate(parts | {"lexicon": Lexicon.model_validate(SHOP.lexicon.model_dump() | fields)})


FEWER = other(rules=SHOP.lexicon.rules[1:])


def test_what_was_published_is_read_back_under_the_bundles_own_controls_and_facts(store: Registry) -> None:
    kobe = load_pack("kobe")
    read = read_policy(store, publish_policy(store, FEWER), under=SHOP)
    assert (read.policy_version, read.lexicon) == (FEWER.policy_version, FEWER.lexicon)
    assert read.policy_version != SHOP.policy_version
    under = read_policy(store, publish_policy(store, kobe), under=kobe)
    assert (under.facts, under.controls, under.name) == (kobe.facts, kobe.controls, "kobe")


def test_the_same_policy_is_the_same_version_and_a_signature_makes_another(store: Registry) -> None:
    plain = publish_policy(store, SHOP)
    assert publish_policy(store, SHOP) == plain
    assert publish_policy(store, FEWER) != plain
    signed = publish_policy(store, SHOP, signer=Signer(PRIVATE))
    assert signed == publish_policy(store, SHOP, signer=Signer(PRIVATE)) != plain


def test_where_keys_are_trusted_only_what_one_of_them_signed_is_read(store: Registry) -> None:
    keys = Keyring.of_pems([public_key(PRIVATE)])
    signed = publish_policy(store, FEWER, signer=Signer(PRIVATE))
    assert read_policy(store, signed, under=SHOP, keys=keys).policy_version == FEWER.policy_version
    with pytest.raises(SignatureInvalid, match="not signed"):
        read_policy(store, publish_policy(store, FEWER), under=SHOP, keys=keys)
    with pytest.raises(SignatureInvalid, match="trusted are"):
        read_policy(store, publish_policy(store, FEWER, signer=Signer(generate_private_key())), under=SHOP, keys=keys)


def test_a_signature_of_another_policy_is_none_of_this_one(store: Registry, tmp_path: Path) -> None:
    signed = store.fetch(publish_policy(store, SHOP, signer=Signer(PRIVATE)))
    forged = store.fetch(publish_policy(store, FEWER))
    (tmp_path / "forged").mkdir()
    for file in forged.iterdir():
        (tmp_path / "forged" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "forged" / "signature.json").write_bytes((signed / "signature.json").read_bytes())
    with pytest.raises(SignatureInvalid, match="not over these bytes"):
        read_policy(store, store.publish(tmp_path / "forged"), under=SHOP, keys=Keyring.of_pems([public_key(PRIVATE)]))


def test_what_is_no_policy_or_none_of_this_build_or_damaged_is_refused_by_name(store: Registry, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "weights").write_text("x")
    with pytest.raises(BadInput, match="is no policy"):
        read_policy(store, store.publish(tmp_path / "folder"), under=SHOP)
    newer = tmp_path / "newer"
    newer.mkdir()
    for file in store.fetch(publish_policy(store, SHOP)).iterdir():
        (newer / file.name).write_bytes(file.read_bytes().replace(b'{"', b'{"later":1,"', 1))
    with pytest.raises(ConfigError, match=r"lexicon.json.*later"):
        read_policy(store, store.publish(newer), under=SHOP)
    version = publish_policy(store, FEWER)
    (tmp_path / "registry" / "objects" / store.describe(version).files["lexicon.json"]).write_text("{}")
    with pytest.raises(DigestMismatch):
        read_policy(store, version, under=SHOP)


def test_a_policy_of_goods_that_a_bundle_does_not_know_does_not_fit_it(store: Registry) -> None:
    rule = SHOP.lexicon.rules[0].model_copy(update={"scope": ("书籍之外的什么",)})
    policy = read_policy(store, publish_policy(store, other(rules=(rule,))), under=SHOP)
    with pytest.raises(ConfigError, match="does not fit the controls and facts"):
        under_policy(policy, controls=SHOP.controls, facts=SHOP.facts)


def test_what_changes_is_told_entry_by_entry() -> None:
    first, second, *rest = SHOP.lexicon.rules
    milder = second.model_copy(update={"level": "review" if second.level == "block" else "block"})
    added = first.model_copy(update={"id": "a-new-one"})
    told = {(one.part, one.field, one.id): one for one in changes(SHOP, other(rules=(*rest, milder, added), version="another"))}
    assert {key: one.kind for key, one in told.items()} == {
        ("lexicon", "version", None): "changed",
        ("lexicon", "rules", first.id): "removed",
        ("lexicon", "rules", second.id): "changed",
        ("lexicon", "rules", "a-new-one"): "added",
    }
    level = told["lexicon", "rules", second.id]
    assert (level.was, level.now) == ({"level": second.level}, {"level": milder.level})
    assert not list(changes(SHOP, load_pack("shop"))), "order and layout are no change"
