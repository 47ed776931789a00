"""The record as its readers meet it: the documented commands, a tampered line, days that may go."""

import asyncio
import json
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster.commands.audit import app
from common.artifacts.signing import Signer, generate_private_key, public_key
from common.artifacts.storage import FileStorage
from common.contract.provenance import Aigc
from common.contract.wire import ItemReason, ItemVerdict, ReasonsRequest, ReasonsResponse
from common.errors import BadInput, NotFound, Tampered
from serve_app.state.audit import AuditLog
from serve_app.state.secret import read_secret

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "audit.md"
NOW = datetime.now(UTC)


def run(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def write(folder: Path, *told: tuple[str, str, str], at: datetime = NOW) -> None:
    """(user, product, text) each, by a server that starts, answers and stops at `at`."""
    signer = Signer((folder / "signing" / "private.pem").read_text())
    log = AuditLog(
        FileStorage(folder / "record"),
        secret=read_secret(folder / "audit-secret", field="secret"),
        signer=signer,
        pending=1000,
        now=lambda: at,
    )
    for user, product, text in told:
        request = ReasonsRequest.model_validate({"user": {"user_id": user}, "items": [{"product_id": product}]})
        about: dict[str, Any] = {"product_id": product, "text": text, "source": "model", "controls": {}, "revision": "r"}
        label = Aigc(label=1, display="AI生成", producer="shop", produce_id=f"c-{text}")
        item = ItemReason(status="ok", verdict=ItemVerdict(accepted=True, score=0.5, checks={}), aigc=label, **about)
        log.note(request, ReasonsResponse(request_id="r", bundle_id="b", policy_version="v", degraded=False, items=(item,)), tenant="shop")
    assert asyncio.run(log.flush())


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "signing").mkdir()
    private = generate_private_key()
    (tmp_path / "signing" / "private.pem").write_text(private)
    (tmp_path / "signing" / "public.pem").write_text(public_key(private))
    (tmp_path / "audit-secret").write_text("0123456789abcdef0123456789abcdef\n")
    write(tmp_path, ("u1", "p1", "一"), ("u2", "p1", "二"), ("u1", "p2", "三"))
    return tmp_path


def test_the_documented_commands_run(kept: Path) -> None:
    lines = [line.strip() for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("    liyou audit")]
    assert {shlex.split(line)[2] for line in lines} == {"verify", "show", "prune"}
    for line in lines:
        run(*shlex.split(line)[2:])


def test_a_whole_record_is_told_with_its_size_and_whether_a_key_was_asked(kept: Path) -> None:
    assert "1 chains, 3 texts" in run("verify", "record", "--trusted-key", "signing/public.pem")
    assert "no key was given" in run("verify", "record")


def test_a_changed_text_fails_with_segment_and_line(kept: Path) -> None:
    (segment,) = (kept / "record").rglob("*.jsonl")
    segment.write_text(segment.read_text().replace("二", "贰"))
    with pytest.raises(Tampered, match=rf"{segment.name}: line 1: "):
        run("verify", "record")


def test_a_removed_segment_fails(kept: Path) -> None:
    secret, signer = read_secret("audit-secret", field="secret"), Signer((kept / "signing" / "private.pem").read_text())
    log = AuditLog(FileStorage(kept / "other"), secret=secret, signer=signer, pending=10)
    for text in "一二三":
        request = ReasonsRequest.model_validate({"items": [{"product_id": "p"}]})
        item = ItemReason(product_id="p", status="ok", text=text, source="template", verdict=ItemVerdict(accepted=True, checks={}))
        item = item.model_copy(update={"aigc": Aigc(label=0, producer="shop", produce_id="c")})
        log.note(request, ReasonsResponse(request_id="r", bundle_id="b", policy_version="v", degraded=False, items=(item,)), tenant="shop")
        asyncio.run(log.flush())
    run("verify", "other")
    next((kept / "other").rglob("00000001.jsonl")).unlink()
    with pytest.raises(Tampered, match="does not go on"):
        run("verify", "other")


def test_a_chain_whose_beginning_is_gone_too_early_fails(kept: Path) -> None:
    write(kept, ("u1", "p1", "四"))
    assert "2 chains" in run("verify", "record")
    old, young = "20200101T000000Z-00000000", next(path for path in (kept / "record").rglob("*.jsonl")).parent.name
    assert old < young
    first = next((kept / "record").rglob(f"{young}/00000000.jsonl"))
    first.rename(first.with_name("00000001.jsonl"))
    with pytest.raises(Tampered, match="segments before it are gone"):
        run("verify", "record")


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (["--user", "u1", "--secret", "audit-secret", "--tenant", "shop"], ["一", "三"]),
        (["--product", "p1"], ["一", "二"]),
        (["--content", "c-三"], ["三"]),
        (["--day", "2000-01-01"], []),
        ([], ["一", "二", "三"]),
    ],
    ids=str,
)
def test_what_was_shown_is_found_by_user_product_or_content_number(kept: Path, words: list[str], texts: list[str]) -> None:
    assert [json.loads(line)["text"] for line in run("show", "record", *words).splitlines()] == texts


def test_a_user_without_the_secret_and_a_place_without_a_record_are_told(kept: Path) -> None:
    with pytest.raises(BadInput, match="--user and --secret"):
        run("show", "record", "--user", "u1")
    with pytest.raises(NotFound, match="no segments there"):
        run("verify", "nowhere")


def test_only_days_whose_time_is_over_go_and_only_when_told_so(kept: Path) -> None:
    write(kept, ("u1", "p9", "旧"), at=NOW - timedelta(days=200))
    write(kept, ("u1", "p9", "新"), at=NOW - timedelta(days=180))
    assert "would remove 1 segments" in run("prune", "record")
    assert "旧" in run("show", "record", "--product", "p9")
    assert "removed 1 segments" in run("prune", "record", "--yes")
    assert [json.loads(line)["text"] for line in run("show", "record", "--product", "p9").splitlines()] == ["新"]
    assert CliRunner().invoke(app, ["prune", "record", "--keep-days", "30"]).exit_code == 2
