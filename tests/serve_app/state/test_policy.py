"""Which policy is in force while others are published: the newest that can be read, in all replicas, those that start later too."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from common.artifacts.registry import Registry
from common.artifacts.signing import Keyring, Signer, generate_private_key, public_key
from common.artifacts.storage import FileStorage, open_storage
from common.errors import StorageUnreachable, Unavailable
from common.packs.lexicon import Lexicon
from common.packs.load import load_pack
from common.packs.policy import ALIAS, publish_policy
from common.packs.schema import Pack
from serve_app.config import PolicyConfig, ServeConfig
from serve_app.state.policy import Policies, open_policies
from serve_app.telemetry.metrics import POLICY_REFUSED, Metric

SHOP = load_pack("shop")
WHY: dict[str, Any] = {"reason": "why", "by": "mei", "at": datetime(2026, 11, 30, tzinfo=UTC)}
PRIVATE = generate_private_key()


def policy(number: int, **rule: object) -> Pack:
    """The shop's, with one short rule, so that it is quickly compiled."""
    rules = [SHOP.lexicon.rules[number].model_dump() | rule]
    parts = {name: getattr(SHOP, name) for name in Pack.model_fields}
    return Pack.model_validate(parts | {"lexicon": Lexicon.model_validate(SHOP.lexicon.model_dump() | {"rules": rules})})


DEPLOYED, ONE, OTHER = policy(0), policy(1), policy(2)
MISFIT = policy(3, scope=["哪里都没有"])


class Gone(FileStorage):
    """Storage that can be taken away."""

    away = False

    def get(self, key: str) -> bytes:
        if self.away:
            raise StorageUnreachable("no route to host")
        return super().get(key)


class Told:
    """A metric as it was last told."""

    def __init__(self) -> None:
        self.last: dict[Metric, float] = {}

    def __call__(self, metric: Metric, value: float = 1.0, labels: object = None) -> None:
        self.last[metric] = value


@pytest.fixture
def store(tmp_path: Path) -> Registry:
    return Registry(Gone(tmp_path))


def publish(store: Registry, pack: Pack, signer: Signer | None = None) -> str:
    version = publish_policy(store, pack, signer=signer)
    store.promote(ALIAS, version, **WHY)
    return version


def policies(store: Registry, **more: Any) -> Policies:
    return Policies(store, DEPLOYED, threshold=0.5, **more)


def refreshed(followed: Policies) -> bool:
    return asyncio.run(followed.refresh())


def version_of(followed: Policies) -> str:
    return followed.in_force.checker.pack.policy_version


def test_what_was_deployed_is_in_force_until_something_is_published_and_a_rollback_goes_back(store: Registry) -> None:
    followed = policies(store)
    assert (followed.in_force.version, version_of(followed)) == (None, DEPLOYED.policy_version)
    assert not refreshed(followed)
    one = publish(store, ONE)
    assert refreshed(followed)
    assert (followed.in_force.version, version_of(followed), followed.in_force.checker.threshold) == (one, ONE.policy_version, 0.5)
    publish(store, OTHER)
    assert refreshed(followed)
    store.rollback(ALIAS, **WHY)
    assert refreshed(followed)
    assert version_of(followed) == ONE.policy_version
    assert not refreshed(followed)


def test_a_page_that_began_under_the_one_before_and_one_that_is_ahead_are_both_judged_by_their_own(store: Registry) -> None:
    one = publish(store, ONE)
    behind = policies(store)
    other = publish(store, OTHER)
    assert behind.named(other).pack.policy_version == OTHER.policy_version, "named before this replica has looked"
    assert version_of(behind) == ONE.policy_version
    refreshed(behind)
    store.storage.away = True  # type: ignore[attr-defined]
    assert [behind.named(version).pack.policy_version for version in (one, other, None)] == [
        ONE.policy_version,
        OTHER.policy_version,
        DEPLOYED.policy_version,
    ]
    with pytest.raises(Unavailable):
        behind.named("v-0")
    store.storage.away = False  # type: ignore[attr-defined]
    with pytest.raises(Unavailable):
        behind.named("v-0")


def test_a_bucket_is_followed_as_a_folder_is(bucket: str) -> None:
    store = Registry(open_storage(f"s3://{bucket}/registry"))
    followed = policies(store)
    assert not refreshed(followed)
    publish(store, ONE)
    assert refreshed(followed)
    assert version_of(followed) == ONE.policy_version


@pytest.mark.parametrize("broken", ["misfit", "no policy", "unsigned", "signed by others"])
def test_what_is_broken_or_not_trusted_leaves_the_one_before_in_force_and_is_told(store: Registry, tmp_path: Path, broken: str) -> None:
    keys = Keyring.of_pems([public_key(PRIVATE)])
    publish(store, ONE, Signer(PRIVATE))
    told = Told()
    followed = policies(store, keys=keys, record=told)
    assert told.last[POLICY_REFUSED] == 0
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "weights").write_text("x")
    if broken == "no policy":
        bad = store.publish(tmp_path / "folder")
        store.promote(ALIAS, bad, **WHY)
    else:
        signer = {"misfit": Signer(PRIVATE), "unsigned": None}.get(broken, Signer(generate_private_key()))
        bad = publish(store, MISFIT if broken == "misfit" else OTHER, signer)
    assert not refreshed(followed)
    assert version_of(followed) == ONE.policy_version
    assert followed.refused is not None
    assert bad in followed.refused
    assert told.last[POLICY_REFUSED] == 1
    assert not refreshed(followed)
    assert followed.refused, "it is told as long as it is so"
    later = policies(store, keys=keys)
    assert (version_of(later), later.refused) == (ONE.policy_version, followed.refused), (
        "a replica that starts now answers as the others do"
    )
    publish(store, OTHER, Signer(PRIVATE))
    assert refreshed(followed)
    assert (version_of(followed), followed.refused, told.last[POLICY_REFUSED]) == (OTHER.policy_version, None, 0)


def test_storage_that_is_away_changes_nothing_and_keeps_a_new_replica_from_starting(store: Registry) -> None:
    publish(store, ONE)
    followed = policies(store)
    store.storage.away = True  # type: ignore[attr-defined]
    with pytest.raises(StorageUnreachable):
        refreshed(followed)
    assert version_of(followed) == ONE.policy_version
    with pytest.raises(StorageUnreachable):
        policies(store)


def test_the_registry_that_is_served_from_is_followed_or_another_that_is_named_or_none(store: Registry, tmp_path: Path) -> None:
    publish(store, ONE)
    fields: dict[str, Any] = {"threshold": 0.0, "record": Told()}
    for config, expected in (
        (ServeConfig(registry=str(tmp_path)), ONE),
        (ServeConfig(policy=PolicyConfig(at=str(tmp_path))), ONE),
        (ServeConfig(registry=str(tmp_path), policy=PolicyConfig(at=str(tmp_path / "other"))), DEPLOYED),
        (ServeConfig(), DEPLOYED),
    ):
        assert version_of(open_policies(config, DEPLOYED, **fields)) == expected.policy_version
    (tmp_path / "public.pem").write_text(public_key(PRIVATE))
    trusting = ServeConfig(policy=PolicyConfig(at=str(tmp_path), trusted=(str(tmp_path / "public.pem"),)))
    assert version_of(open_policies(trusting, DEPLOYED, **fields)) == DEPLOYED.policy_version
