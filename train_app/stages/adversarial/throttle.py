"""Who may learn from whom at a step, by the discriminator's accuracy (moving average): neither side is to run away from the other."""

from train_app.config import AdversarialConfig


def discriminator_learns(accuracy: float, config: AdversarialConfig) -> bool:
    """Above `throttle_high` it rests until the generator has caught up."""
    return accuracy <= config.throttle_high


def discriminator_pays(accuracy: float, config: AdversarialConfig) -> bool:
    """Below `throttle_low` it knows less than a coin, above `throttle_certain` it says the same of every sample: either teaches nothing."""
    return config.throttle_low <= accuracy <= config.throttle_certain
