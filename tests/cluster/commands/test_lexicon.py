"""A policy checked, published and rolled back from the command line, as the page about it tells."""

import json
import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from cluster.cli import main
from common.artifacts.registry import Registry
from common.artifacts.signing import Keyring
from common.artifacts.storage import open_storage
from common.config import parse
from common.contract.audit import Place, Shown, segment
from common.errors import SignatureInvalid
from common.packs.load import load_pack
from common.packs.policy import ALIAS, read_policy
from serve_app.config import ServeConfig

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "lexicon.md"
SHOP = load_pack("shop")
NEW_RULE = """
  - id: house-style
    level: block
    basis: 店铺规范第一条
    why: 店里不说
    patterns: ["随手一放"]
    refused: ["回家随手一放就好。"]
    allowed: ["放在手边。"]
"""


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIYOU_REGISTRY", raising=False)


@pytest.fixture
def mine() -> Path:
    """A pack with one rule more than the shop's."""
    run("pack", "new", "mine", "--part", "lexicon")
    path = Path("mine/lexicon.yaml")
    path.write_text(path.read_text(encoding="utf-8").rstrip() + NEW_RULE, encoding="utf-8")
    return Path("mine")


def run(*words: str, code: int = 0) -> None:
    with pytest.raises(SystemExit) as caught:
        main(list(words))
    assert (caught.value.code or 0) == code


def lexicon(*words: str, code: int = 0) -> None:
    run("lexicon", *words, code=code)


def live() -> str:
    store = Registry(open_storage("registry"))
    return read_policy(store, store.resolve(ALIAS), under=SHOP).policy_version


def test_a_policy_is_checked_published_and_rolled_back(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lexicon("check", "mine")
    told = capsys.readouterr().out
    assert f"against {SHOP.policy_version}, as it ships: 1 changes" in told
    assert "added: lexicon.rules house-style, block" in told
    lexicon("publish", "shop", "--reason", "what ships", "--by", "mei")
    lexicon("publish", "mine", "--reason", "house style", "--by", "mei")
    assert live() == load_pack("mine").policy_version
    lexicon("check", "mine")
    assert "0 changes" in capsys.readouterr().out
    lexicon("publish", "mine", "--reason", "again", code=1)
    assert "live already" in capsys.readouterr().err
    lexicon("rollback", "--reason", "complaints")
    assert live() == SHOP.policy_version
    lexicon("rollback", "--reason", "once more", code=2)
    store = Registry(open_storage("registry"))
    lexicon("rollback", "--to", store.history(ALIAS)[1].version, "--reason", "it was right")
    assert live() == load_pack("mine").policy_version
    capsys.readouterr()
    lexicon("show", "--json")
    moves = json.loads(capsys.readouterr().out)["moves"]
    assert [(move["kind"], move["reason"], move["policy_version"]) for move in moves] == [
        ("promote", "what ships", SHOP.policy_version),
        ("promote", "house style", live()),
        ("rollback", "complaints", SHOP.policy_version),
        ("promote", "it was right", live()),
    ]
    lexicon("show")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("live")]
    assert live() in line


def test_what_its_own_examples_contradict_is_named_and_not_published(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = mine / "lexicon.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace('"放在手边。"', '"随手一放。"'), encoding="utf-8")
    for words in (["lexicon", "check", "mine"], ["lexicon", "publish", "mine", "--reason", "x"], ["pack", "check", "mine"]):
        run(*words, code=2)
        assert "mine: lexicon: house-style: allowed: '随手一放。' is caught by house-style" in capsys.readouterr().err
    assert not Path("registry").exists()


def test_texts_that_would_be_judged_otherwise_are_told_from_a_file_and_from_the_record(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("texts.txt").write_text("回家随手一放就好。\n\n喝水方便。\n", encoding="utf-8")
    lexicon("check", "mine/lexicon.yaml", "--texts", "texts.txt")
    told = capsys.readouterr().out
    assert "blocked: 回家随手一放就好。" in told
    assert "2 texts: 1 would be blocked, 0 let through" in told
    shown = {"at": datetime.now(UTC), "text": "门口随手一放就好。", "source": "model", "controls": {}, "checks_failed": (), "score": None}
    names = ("request_id", "tenant", "user", "channel", "product_id", "revision", "bundle_id", "policy_version", "produce_id", "degraded")
    data, _ = segment([Shown.model_validate(shown | dict.fromkeys(names, "x"))], Place("chain"), signer=None)
    open_storage("record").put("2026-11-30/chain/00000000.jsonl", data)
    lexicon("check", "mine", "--texts", "record", "--json")
    told = json.loads(capsys.readouterr().out)
    assert [(one["text"], one["would_be"]) for one in told["effects"]] == [("门口随手一放就好。", "blocked")]
    assert [(one["kind"], one["id"]) for one in told["changes"]] == [("added", "house-style")]
    lexicon("check", "mine", "--texts", "nowhere", code=2)


def test_with_a_key_it_is_signed(mine: Path) -> None:
    run("keys", "new", "signing")
    lexicon("publish", "mine", "--reason", "signed", "--key", "signing/private.pem")
    run("keys", "new", "others")
    store = Registry(open_storage("registry"))
    for folder, trusted in (("signing", True), ("others", False)):
        keys = Keyring.of_pems([Path(folder, "public.pem").read_text()])
        if trusted:
            assert read_policy(store, store.resolve(ALIAS), under=SHOP, keys=keys).policy_version == load_pack("mine").policy_version
        else:
            with pytest.raises(SignatureInvalid):
                read_policy(store, store.resolve(ALIAS), under=SHOP, keys=keys)


def test_one_moves_it_who_knows_what_is_live(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lexicon("publish", "mine", "--reason", "x", "--expected", "v-other", code=1)
    assert "alias_conflict" in capsys.readouterr().err
    lexicon("publish", "mine", "--reason", "x", "--expected", "")
    lexicon("rollback", "--to", "v-0", "--reason", "x", code=2)


def test_the_documented_commands_and_fields_are_taken_as_they_stand(mine: Path) -> None:
    Path("texts.txt").write_text("喝水方便。\n", encoding="utf-8")
    run("keys", "new", "signing")
    blocks = [line.strip() for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("    ")]
    lines = [line for line in blocks if line.startswith("liyou ")]
    (configured,) = (line for line in blocks if line not in lines)
    assert parse(yaml.safe_load(configured), ServeConfig, source="docs/lexicon.md").policy.trusted
    mine.rename("my-shop")
    assert len(lines) >= 5
    for line in lines:
        run(*shlex.split(line, comments=True)[1:])
