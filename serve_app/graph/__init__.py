"""The deployments of the serving graph, thin over common."""
