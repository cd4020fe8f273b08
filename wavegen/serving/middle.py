"""What every request passes: who may come in, how much may be sent, the log and the counters."""

import time
from collections.abc import Sequence
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from fastapi.responses import Response
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wavegen.serving.answers import BrokenOff, answer_to, problem_answer
from wavegen.serving.problems import TooLargeError
from wavegen.serving.service import Service

COOKIE = "wavegen-token"
CLIENT_GONE = 499  # nginx' word for a client that did not wait; nobody reads it but the log
BROKEN_OFF = 599  # the same of an answer that was not completed


class Middle:
    """What every request passes: who may come in, how much may be sent, the log and the counters."""

    def __init__(self, app: ASGIApp, service: Service, cors: Sequence[str]) -> None:
        self._app, self._service, self._cors = app, service, cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        refusal = self._refusal(scope)
        try:
            if refusal is not None:
                await refusal(scope, receive, noting)
            else:
                await self._app(scope, _limited(receive, self._service.limits.n_bytes), noting)
        except ClientDisconnect:
            status = CLIENT_GONE
        except BrokenOff as error:
            status = BROKEN_OFF
            self._service.log("broken off", path=scope["path"][:200], reason=str(error))
        except TooLargeError as error:
            if status == 0:
                await answer_to(error)(scope, receive, noting)
        finally:
            route = scope.get("route")
            endpoint = "other" if route is None else route.path
            elapsed = time.monotonic() - began
            self._service.metrics.count(endpoint, str(status), elapsed)
            if endpoint not in ("/health", "/ready", "/metrics"):
                self._service.log(
                    "request", path=scope["path"][:200], status=status, ms=round(1000 * elapsed), client=_client(scope)
                )

    def _refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that may not come in."""
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if scope["path"] == "/health" and scope["type"] == "http":
            return None
        if not self._is_preflight(scope, headers) and not self._service.is_let_in(_token(scope, headers)):
            response = problem_answer(401, "a token is needed; expected Authorization: Bearer TOKEN")
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        origin = headers.get(b"origin")
        is_own = origin is None or urlsplit(origin).netloc == headers.get(b"host")
        if not is_own and origin not in self._cors and "*" not in self._cors:
            return problem_answer(403, f"pages of {origin} may not use this service; expected one that --cors names")
        length = headers.get(b"content-length", "0")
        most = self._service.limits.n_bytes
        if not length.isdecimal() or int(length[:20]) > most:
            return problem_answer(413, f"{length[:20]} bytes are sent; expected at most {most:,}")
        return None

    def _is_preflight(self, scope: Scope, headers: dict[bytes, str]) -> bool:
        """Whether a browser asks what a page may do, for which it sends no token."""
        is_asked = scope.get("method") == "OPTIONS" and b"access-control-request-method" in headers
        return bool(self._cors) and is_asked


def _token(scope: Scope, headers: dict[bytes, str]) -> str | None:
    """The token that somebody brings: in a header, a cookie of the page, or the address of that."""
    kind, _, token = headers.get(b"authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    with suppress(CookieError):
        cookie = SimpleCookie(headers.get(b"cookie", "")).get(COOKIE)
        if cookie is not None:
            return cookie.value
    if scope["path"] in ("/", "/v1/live"):
        return parse_qs(scope["query_string"].decode("latin-1")).get("token", [None])[0]
    return None


def _client(scope: Scope) -> str:
    client = scope.get("client")
    return "" if client is None else str(client[0])


def _limited(receive: Receive, most: int) -> Receive:
    """What is received, as long as it is not too much."""
    n = 0

    async def limited() -> Message:
        nonlocal n
        message = await receive()
        if message["type"] == "http.request":
            n += len(message.get("body", b""))
            if n > most:
                raise TooLargeError(f"more than {most:,} bytes are sent, which is the most")
        return message

    return limited
