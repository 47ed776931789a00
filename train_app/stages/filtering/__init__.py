"""Filtered fine-tuning: samples that are good enough become training text, beside what people wrote."""
