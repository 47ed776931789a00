"""Where it runs, and how people reach it. Importing it needs neither ray, torch nor fastapi: a storefront imports the client alone."""

from cluster.client.client import LiyouClient

__all__ = ["LiyouClient"]
