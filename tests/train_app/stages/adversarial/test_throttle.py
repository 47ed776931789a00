import pytest

from train_app.config import AdversarialConfig
from train_app.stages.adversarial.throttle import discriminator_learns, discriminator_pays

CONFIG = AdversarialConfig(throttle_low=0.55, throttle_high=0.8, throttle_certain=0.98)


@pytest.mark.parametrize(
    ("accuracy", "learns", "pays"),
    [
        (0.40, True, False),
        (0.55, True, True),
        (0.70, True, True),
        (0.80, True, True),
        (0.90, False, True),
        (0.98, False, True),
        (0.99, False, False),
    ],
)
def test_the_winning_side_waits_for_the_other(accuracy: float, learns: bool, pays: bool) -> None:
    assert discriminator_learns(accuracy, CONFIG) is learns
    assert discriminator_pays(accuracy, CONFIG) is pays
