"""Keeps a replica's log discreet: what Ray Serve itself writes of an error goes through the same filter as ours."""

import logging

from common.log import Discreet


def discreet() -> None:
    """Called by every replica; twice is once. Serve writes all of a replica's records through this one logger, and makes them JSON."""
    logger = logging.getLogger("ray.serve")
    if not any(isinstance(found, Discreet) for found in logger.filters):
        logger.addFilter(Discreet())
