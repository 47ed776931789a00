"""The decode engine over vLLM's, an extra of the package. Importing this imports no vLLM, which reads its environment as it comes up."""

from collections.abc import Mapping

ENVIRONMENT: Mapping[str, str] = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1"}
"""What a process sets before vLLM is imported there: it decodes in that process, and reports to nobody. By itself it would start another,
bound to the cores that it takes for free."""
