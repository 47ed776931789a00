from train_app.data.public_datasets.feature_mining import feature_sentence, features_in, mine_features

REVIEWS = [
    "The cable is long. I love the tone and the price.",
    "Great tone! My strings broke, but the cable held.",
    "I really run fast with this strap. The tone is warm.",
]


def test_nouns_are_mined_by_how_they_are_used_and_how_often() -> None:
    assert mine_features(REVIEWS, fewest=2, most=10) == ["tone", "cable"]
    assert "really" not in mine_features(REVIEWS, fewest=1, most=50)
    assert mine_features(REVIEWS, fewest=1, most=1) == ["tone"]


def test_a_feature_is_a_whole_word() -> None:
    assert features_in("Overtones and cables.", ["tone", "cable"]) == []
    assert features_in("Tone, then the CABLE", ["cable", "tone"]) == ["cable", "tone"]


def test_the_sentence_is_the_first_that_fits_and_names_a_feature() -> None:
    text = "Bought it. It is fine! The tone surprised me a lot. The cable too, I must say here."
    assert feature_sentence(text, ["cable", "tone"], chars=(20, 60)) == ("The tone surprised me a lot.", "tone")
    assert feature_sentence(text, ["cable"], chars=(200, 300)) is None
