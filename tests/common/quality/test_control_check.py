import pytest

from common.packs.load import load_pack
from common.quality.control_check import ControlMeter, check_controls, measured

PACK = load_pack("shop").controls
METER = ControlMeter(PACK)


@pytest.mark.parametrize(
    ("text", "controls", "passed"),
    [
        ("做工扎实，用料考究。", {"topic": "quality"}, True),
        ("做工扎实，用料考究。", {"topic": "value"}, False),
        ("价格划算，做工也扎实。", {"topic": "value"}, True),
        ("一副蓝牙耳机。", {"topic": "look"}, True),
        ("一副蓝牙耳机。", {}, True),
        ("心动就带走。", {"emotion": "calm"}, False),
        ("颜值在线，让人心动。", {"topic": "look", "emotion": "excited"}, True),
        ("奶油白的耳机，通勤路上轻松戴着听歌。", {"style": "concise"}, True),
        ("奶油白的耳机。", {"style": "concise"}, False),
        ("奶油白的耳机，通勤路上轻松戴着听歌。", {"style": "detailed"}, False),
    ],
)
def test_codes_are_kept_or_broken(text: str, controls: dict[str, str], passed: bool) -> None:
    assert check_controls(text, controls=controls, pack=PACK).passed is passed


def test_no_cue_is_reported_and_no_failure() -> None:
    result = METER.check("一副蓝牙耳机。", controls={"topic": "look"})
    assert result.passed
    assert result.findings == ("topic=look: no cue of any value was found",)


def test_a_finding_names_the_cue_and_whose_it_is() -> None:
    (finding,) = METER.check("做工扎实。", controls={"topic": "value"}).findings
    assert "“做工” speaks of quality" in finding


def test_a_value_the_pack_lacks_is_a_finding() -> None:
    assert not METER.check("一副蓝牙耳机。", controls={"style": "poetic"}).passed


def test_what_is_measured_is_the_majority_of_cues_and_the_length() -> None:
    assert measured("做工扎实，颜值也在线，放心。", PACK) == {"topic": "quality", "emotion": "calm"}
    assert measured("奶油白的耳机，通勤路上轻松戴着听歌。", PACK) == {"style": "concise"}
    assert measured("好", PACK) == {}
