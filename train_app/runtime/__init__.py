"""One Ray Train run around the stages."""
