"""What recipes send and how they judge what came back, without a served graph."""

import json
from pathlib import Path

import orjson
import pytest

from cluster.bench.faults import __main__ as command
from cluster.bench.faults.matrix import Seen, markdown
from cluster.bench.faults.sending import BOMBS, attacking, attacks, bombs, misshown, obeyed, rows
from cluster.bench.faults.state import clock_jumps
from cluster.bench.faults.storing import MARKED, mixed, refused, stricter
from cluster.bench.faults.traffic import products
from common.contract.wire import ItemReason, ReasonsRequest, ReasonsResponse
from common.errors import LiyouError
from common.features.snapshot_build import build_snapshot
from common.packs.load import load_pack
from common.quality.control_check import ControlMeter

METER = ControlMeter(load_pack("shop").controls)


def test_every_fault_of_the_issue_is_in_the_matrix_once() -> None:
    wanted = {"F1", "F2", "F3", "F9", "F12", "F14", "F16", "F16-logs", "F19", "F20", "F21", "F22", "F26", "F29", "F30"}
    assert sorted(fault.id for fault in command.FAULTS) == sorted(wanted)
    assert all((fault.on is None) != (fault.own is None) for fault in command.FAULTS)
    assert [fault.id for fault in command.chosen(["F9", "F1"])] == ["F9", "F1"]
    with pytest.raises(LiyouError, match="F99"):
        command.chosen(["F99"])


def test_a_recipe_that_breaks_off_or_finds_something_is_a_promise_not_kept(tmp_path: Path) -> None:
    def breaks(folder: Path) -> Seen:
        raise RuntimeError("no such process")

    own = {"own": breaks}
    row = command.run(command.Fault("F0", "n", "done", "expected", **own), command.Stage(tmp_path), tmp_path)
    assert (row["kept"], row["wrong"]) == (False, ["RuntimeError: no such process"])
    found = command.Fault("F0", "n", "done", "expected", own=lambda folder: Seen("seen", ["one | two"]))
    row = command.run(found, command.Stage(tmp_path), tmp_path)
    results = {"machine": "m", "faults": [row | {"commit": "c"}]}
    assert "| seen **Not kept:** one \\| two. | **not kept** |" in markdown(json.loads(json.dumps(results)))


def test_a_fault_that_was_not_done_again_stands_as_it_was_seen() -> None:
    before = [{"id": "F1", "kept": True}, {"id": "F9", "kept": True}]
    assert command.merged(before, [{"id": "F9", "kept": False}]) == [{"id": "F9", "kept": False}, {"id": "F1", "kept": True}]


def test_products_of_a_traffic_differ_and_are_in_no_other() -> None:
    one, other = ([item["product"] for item in products(name, 300)] for name in ("F1", "F2"))
    ids = [product["product_id"] for product in one + other]
    assert len(set(ids)) == 600
    assert len({product["price"] for product in one}) == 300, "none is found in the cache by way of another"


def test_every_attack_is_a_page_that_can_be_sent_and_carries_it(tmp_path: Path) -> None:
    personas = {user["user_id"]: user["persona"] for user in rows()["users"]}
    for one in attacks():
        page = attacking(one)
        ReasonsRequest.model_validate(page)
        assert orjson.dumps(one["payload"])[1:-1] in orjson.dumps(page) or personas[one["id"]] == one["payload"]
    (tmp_path / "raw").mkdir()
    for name, table in rows().items():
        (tmp_path / "raw" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    build_snapshot(tmp_path / "raw", tmp_path / "snapshot")


def test_an_attack_that_is_obeyed_is_told_however_it_is_hidden() -> None:
    said = next(one for one in attacks() if one["strings"] == ["明日清仓"])
    assert obeyed(said, {"text": "星野耳机，续航30小时。", "controls": said["codes"]}, METER) == ""
    assert "shows" in obeyed(said, {"text": "明\u200b日清仓", "controls": said["codes"]}, METER)
    forged = next(
        one for one in attacks() if one["forged"] == {"control": "topic", "value": "value"} and one["codes"]["topic"] == "quality"
    )
    assert "follows" in obeyed(forged, {"text": "好。", "controls": {"topic": "value"}}, METER)
    assert "follows" in obeyed(forged, {"text": "价格划算，性价比高。", "controls": forged["codes"]}, METER)
    assert obeyed(forged, {"text": None, "controls": None}, METER) == "", "nothing was shown"


def test_bombs_can_be_sent_and_what_cannot_be_seen_is_noticed_where_it_is_shown() -> None:
    assert len(list(bombs())) == 5 * len(BOMBS)
    for _, page in bombs():
        assert json.loads(orjson.dumps(page)) == page

    def shown(text: str) -> bytes:
        return orjson.dumps({"items": [{"text": text}, {"text": None}]})

    assert misshown(200, shown("静音耳机，安静。")) == []
    assert misshown(422, b"{}") == []
    assert misshown(500, b"{}") == ["status 500"]
    assert misshown(200, shown("静\u200b音")) != []
    assert misshown(200, shown("静" + "\u0301" * 5)) != []


def test_a_text_that_the_policy_of_its_page_bans_is_noticed() -> None:
    shop = load_pack("shop")
    strict = stricter(shop)
    assert strict.policy_version != shop.policy_version
    assert strict.lexicon.rules[-1].patterns == (MARKED,)

    def answer(policy: str, text: str) -> ReasonsResponse:
        item = ItemReason(product_id="p", status="ok", text=text, source="model")
        return ReasonsResponse(request_id="r", bundle_id="b", policy_version=policy, degraded=False, items=(item,))

    assert mixed(answer(shop.policy_version, "黑色好看"), strict=strict.policy_version) == ""
    assert mixed(answer(strict.policy_version, "白色好看"), strict=strict.policy_version) == ""
    assert "黑色" in mixed(answer(strict.policy_version, "黑色好看"), strict=strict.policy_version)


def test_no_jump_of_the_calendar_ends_a_signature_early_or_gives_a_limit_twice(tmp_path: Path) -> None:
    found = clock_jumps(tmp_path / "scene")
    assert found.wrong == []
    assert [told["verdict"] for told in found.figures.values()] == ["valid", "signature_expired", "valid"]  # type: ignore[index]


def test_a_refusal_has_to_say_why(tmp_path: Path) -> None:
    words = ["bundle", "promote", str(tmp_path / "none"), "--reason", "test"]
    assert refused(words, name="none", told="artifact_not_found: ") == []
    (wrong,) = refused(words, name="none", told="digest_mismatch: ")
    assert "exit code 2" in wrong
    (wrong,) = refused(["--help"], name="help", told="")
    assert "exit code 0" in wrong
