"""What goes wrong with a request, as clients read it: one sentence, in the shape of RFC 9457."""

from collections.abc import Sequence
from typing import Any

from wavegen.errors import InputError, shortened
from wavegen.serving.models import UnknownModelError

MEDIA_TYPE = "application/problem+json"
TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    422: "Unprocessable Content",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class Busy(Exception):  # noqa: N818 - it is no error of anybody's
    """There is no room for more; `retry_s` says when to ask again."""

    def __init__(self, sentence: str, retry_s: int) -> None:
        super().__init__(sentence)
        self.retry_s = retry_s


class DroppedError(InputError):
    """A stream that was ended, since nobody read it or the service is ending."""


class TooLargeError(InputError):
    """More than the service takes."""


def status_of(error: Exception) -> int:
    """The HTTP status of what went wrong."""
    if isinstance(error, UnknownModelError):
        return 404
    if isinstance(error, TooLargeError):
        return 413
    if isinstance(error, Busy | DroppedError):
        return 503
    return 422 if isinstance(error, InputError) else 500


def sentence_of(error: Exception) -> str:
    """What clients are told of it; of a fault of ours nothing that the log does not say better."""
    if isinstance(error, InputError | Busy):
        return str(error)
    return "something went wrong in the service; its log says what"


def problem(status: int, detail: str) -> dict[str, Any]:
    """The body of an answer."""
    return {"type": "about:blank", "title": TITLES.get(status, "Error"), "status": status, "detail": detail}


def sentence_of_fields(errors: Sequence[Any]) -> str:
    """One sentence of what pydantic finds wrong with a request: the first thing, and how many more there are."""
    first = errors[0]
    where = ".".join(str(part) for part in first.get("loc", ()) if part not in ("body", "query"))
    message = str(first.get("msg", "it is not valid"))
    message = message[:1].lower() + message[1:]
    given = (
        ""
        if "input" not in first or isinstance(first["input"], dict)
        else f", and {shortened(first['input'])} was given"
    )
    more = f"; {len(errors) - 1} more of the kind" if len(errors) > 1 else ""
    return f"{where or 'the request'}: {message}{given}{more}"
