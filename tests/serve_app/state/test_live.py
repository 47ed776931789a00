from pathlib import Path

from common.packs.load import load_pack
from serve_app.state.live import STARTER, read_live


def test_a_shops_own_policy_is_served_under_a_shipped_bundle(tmp_path: Path) -> None:
    (tmp_path / "pack.yaml").write_text("name: corner_shop\nextends: amazon\n")
    mine, shipped = read_live(STARTER, pack=str(tmp_path)), read_live(STARTER)
    assert shipped.card().policy_version == load_pack("shop").policy_version
    assert mine.card().policy_version == load_pack(tmp_path).policy_version
    assert mine.card().controls == shipped.card().controls
