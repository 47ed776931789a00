"""The immutable, content-addressed result of a training."""
