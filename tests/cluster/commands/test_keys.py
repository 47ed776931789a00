"""A key is made once, and a saved answer is checked without a server."""

import json
import shlex
import stat
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster.commands.keys import app
from common.artifacts.signing import Keyring, Signer, key_id
from common.contract.provenance import Statement, label
from common.contract.vouching import Voucher
from common.contract.wire import ItemReason, KeysResponse, ReasonsResponse
from common.errors import BadInput, SignatureInvalid


def run(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """A folder with a key pair, an answer that it signed, and the keys as a server publishes them."""
    run("new", str(tmp_path))
    about: dict[str, Any] = {"product_id": "p1", "revision": "r1", "text": "好", "source": "model", "controls": {}}
    stated = Statement(**about, bundle_id="b1", policy_version="v1", producer="shop")
    signature = Voucher(Signer((tmp_path / "private.pem").read_text()), lifetime_s=10**9).sign(stated, now_s=10**9)
    item = ItemReason(status="ok", aigc=label(stated), signature=signature, **about)
    page = ReasonsResponse(request_id="r", bundle_id="b1", policy_version="v1", degraded=False, items=(item,))
    (tmp_path / "answer.json").write_text(page.model_dump_json())
    (tmp_path / "keys.json").write_text(
        KeysResponse(keys=Keyring.of_pems([(tmp_path / "public.pem").read_text()]).jwks()).model_dump_json()
    )
    return tmp_path


def test_a_key_pair_is_made_for_its_owner_alone_and_never_overwritten(tmp_path: Path) -> None:
    told = run("new", str(tmp_path / "signing"))
    assert key_id((tmp_path / "signing" / "public.pem").read_text()) in told
    private = tmp_path / "signing" / "private.pem"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    before = private.read_text()
    with pytest.raises(BadInput, match="there is a key already"):
        run("new", str(tmp_path / "signing"))
    assert private.read_text() == before


@pytest.mark.parametrize("keys", ["keys.json", "public.pem"])
def test_a_saved_answer_is_checked_by_published_keys_or_a_pem(signed: Path, keys: str) -> None:
    assert run("verify", str(signed / "answer.json"), "--keys", str(signed / keys)).split() == ["0", "p1", "valid"]


def test_a_changed_answer_fails_and_says_which_item(signed: Path) -> None:
    path = signed / "answer.json"
    page = json.loads(path.read_text())
    page["items"][0]["text"] = "最好"
    path.write_text(json.dumps(page))
    with pytest.raises(SignatureInvalid, match="1 of 1 items"):
        run("verify", str(path), "--keys", str(signed / "keys.json"))


def test_the_documented_commands_run(signed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(signed)
    document = (Path(__file__).resolve().parents[3] / "docs" / "signing.md").read_text(encoding="utf-8")
    lines = [shlex.split(line)[2:] for line in document.splitlines() if line.startswith("    liyou keys")]
    assert [line[0] for line in lines] == ["new", "verify", "verify"]
    for line in lines:
        if "signing/public.pem" in line:  # the pair that was just made signed nothing
            with pytest.raises(SignatureInvalid):
                run(*line)
        else:
            run(*line)


@pytest.mark.parametrize(("file", "text"), [("answer.json", "{"), ("answer.json", '{"items": []}'), ("keys.json", '{"keys": [{}]}')])
def test_a_file_that_is_something_else_is_named(signed: Path, file: str, text: str) -> None:
    (signed / file).write_text(text)
    with pytest.raises(BadInput, match=rf"{file}: expected an answer of"):
        run("verify", str(signed / "answer.json"), "--keys", str(signed / "keys.json"))
