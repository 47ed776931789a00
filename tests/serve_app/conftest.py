"""Ray Serve 2.60 warns while it is imported (extra keywords of pydantic's Field); imported once here, where that is no error."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import ray.serve  # noqa: F401
