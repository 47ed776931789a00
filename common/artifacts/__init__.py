"""Bytes and digests, whatever they hold."""
