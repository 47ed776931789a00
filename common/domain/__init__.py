"""The nouns, pure: nothing here reads a file, a clock or a model."""
