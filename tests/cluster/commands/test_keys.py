"""A key is made once, and a saved answer is checked without a server."""

import json
import shlex
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cluster.commands import serve
from cluster.commands.keys import app
from common.artifacts.signing import Keyring, Signer, key_id
from common.contract.provenance import Statement, label
from common.contract.vouching import Voucher
from common.contract.wire import ItemReason, KeysResponse, ReasonsResponse
from common.errors import BadInput, ConfigError, NotFound, SignatureInvalid
from serve_app.state.api_keys import KeyStore


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


def test_the_documented_commands_on_api_keys_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    document = (Path(__file__).resolve().parents[3] / "docs" / "doors.md").read_text(encoding="utf-8")
    lines = [shlex.split(line)[2:] for line in document.splitlines() if line.startswith("    liyou keys")]
    assert [line[0] for line in lines] == ["issue", "issue", "list", "revoke"]
    for line in lines:
        run(*line)
    assert [json.loads(line)["name"] for line in run("list", "--file", "keys.json").splitlines()] == ["storefront-tests"]
    (served,) = [shlex.split(line)[2:] for line in document.splitlines() if line.startswith("    liyou serve")]
    known = {option for parameter in typer.main.get_command(serve.app).params for option in parameter.opts}
    assert {word for word in served if word.startswith("--")} <= known


def test_a_key_is_shown_once_and_what_is_kept_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    made = issue("storefront", file, "--items-per-minute", "600", "--days", "90").strip()
    issue("tests", file, "--sandbox", "--scope", "reasons")
    assert made not in file.read_text()
    store = KeyStore(file, clock=lambda: 0.0)
    found = store.find(made, now=datetime.now(UTC))
    assert found is not None
    assert (found.name, found.tenant, found.limits.items_per_minute) == ("storefront", "shop", 600)
    assert store.find(made, now=datetime.now(UTC) + timedelta(days=91)) is None
    told = [json.loads(line) for line in run("list", "--file", str(file)).splitlines()]
    assert [(one["name"], one["scopes"], one["sandbox"], one["expired"]) for one in told] == [
        ("storefront", ["reasons", "models"], False, False),
        ("tests", ["reasons"], True, False),
    ]
    assert not any("sha256" in one for one in told)


def test_a_revoked_key_is_gone_and_an_unknown_or_doubled_name_is_told(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    made = issue("storefront", file).strip()
    with pytest.raises(ConfigError, match="two are named storefront"):
        issue("storefront", file)
    with pytest.raises(NotFound, match="no key is named 'storefrnt'; there are storefront"):
        run("revoke", "storefrnt", "--file", str(file))
    run("revoke", "storefront", "--file", str(file))
    assert KeyStore(file, clock=lambda: 0.0).find(made, now=datetime.now(UTC)) is None


def issue(name: str, file: Path, *words: str) -> str:
    return CliRunner().invoke(app, ["issue", name, "--file", str(file), "--tenant", "shop", *words], catch_exceptions=False).stdout


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
