"""The stages of a training as plain functions from state to state."""
