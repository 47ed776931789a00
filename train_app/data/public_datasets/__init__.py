"""Importers of public data sets into raw tables."""
