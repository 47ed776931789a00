"""Search over the weightings of a training."""
