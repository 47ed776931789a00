"""The discriminator's own stages: what is shown to it, how it learns, what its score means."""
