"""What every log line says of its request, and what none may say. Importing it does nothing; who formats and keeps the lines is not known.

A line names a request and its trace, never a user: the record (`docs/audit.md`) is what leads from a person to requests.
"""

import logging
import traceback
from contextvars import ContextVar

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
traceparent: ContextVar[str | None] = ContextVar("traceparent", default=None)
"""Of the span that is open, as W3C writes it: VERSION-TRACE-SPAN-FLAGS."""


class Discreet(logging.Filter):
    """Adds `request_id` and `trace_id`, and leaves of an exception what it was and where: its words may quote what a caller sent."""

    def filter(self, record: logging.LogRecord) -> bool:
        found = {"request_id": request_id.get(), "trace_id": (traceparent.get() or "--").split("-")[1]}
        for name, value in found.items():
            if value and not hasattr(record, name):
                setattr(record, name, value)
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = wordless(record.exc_info[1])  # formatters that find it make none of their own
        return True


def wordless(error: BaseException) -> str:
    """Where it was raised and of which kind, with what it was raised from; not its message."""
    told: list[str] = []
    link: BaseException | None = error
    while link is not None and len(told) < 10:
        told.append("".join(traceback.format_tb(link.__traceback__)) + f"{type(link).__module__}.{type(link).__qualname__}")
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "\nraised from:\n".join(told)
