"""Prompt, tokens and base models: everything between a context and token ids."""
