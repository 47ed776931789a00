"""Strings only: normalising, numbers as written, segments."""
