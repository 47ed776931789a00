"""The Python client: reasons over HTTP, jobs on a cluster."""
