"""Who may read what: token, Host and Origin headers, and the headers that every answer has.

An ASGI application around another one, and not middleware that collects answers, so that streams stay streams.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "form-action 'none'",
    )
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    # Pictures of people belong into no cache.
    "cache-control": "no-store",
}
# What a monitor asks, which knows no token; it says nothing about anybody.
_OPEN = frozenset({"/healthz"})


class Guard:
    """Asks for the token, refuses foreign names, and adds the headers. Safe for one event loop.

    The token comes as ``Authorization: Bearer``, or once as ``/?token=``, which is answered with a cookie and a
    redirection to an address without it. The cookie holds a keyed checksum, so that the token itself is in no browser.

    Args:
        app: What is guarded.
        token: None for nothing.
        hosts: Names that the Host header may have, without the port; empty for any.
    """

    def __init__(self, app: ASGIApp, token: str | None, hosts: Iterable[str]) -> None:
        self._app, self._hosts = app, frozenset(hosts)
        self._token = token.encode() if token is not None else None
        self._cookie = self._sum(b"rrn viewer cookie")
        # Cookies are the same for all ports of a host: viewers with other tokens have cookies of other names.
        self.cookie_name = f"rrn_view_{self._sum(b'rrn viewer cookie name')[:8]}"

    def _sum(self, what: bytes) -> str:
        return hmac.new(self._token or b"", what, hashlib.sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or lets the application do so."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._refusal(scope)
        if answer is None:
            await self._app(scope, receive, send_with_headers)
        elif scope["type"] == "websocket":
            await _refuse_websocket(answer, scope, receive, send_with_headers)
        else:
            await answer(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._hosts and _name(host) not in self._hosts:
            return _line("this name is not served here: start the viewer with --allowed-host for it", 421)
        origin = headers.get("origin")
        if scope["type"] == "websocket" and origin is not None and not _same(origin, host):
            return _line("the page of another origin may not connect", 403)
        if self._token is None or scope["path"] in _OPEN or self._knows(headers):
            return None
        return self._login(scope)

    def _knows(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(given.strip()):
            return True
        cookie = cookie_parser(headers.get("cookie", "")).get(self.cookie_name, "")
        return hmac.compare_digest(cookie.encode(), self._cookie.encode())

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._token or b"")

    def _login(self, scope: Scope) -> Response:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["type"] == "http" and scope["path"] == "/" and self._is_token(given):
            answer = RedirectResponse("/", 303)
            secure = scope["scheme"] == "https"
            answer.set_cookie(self.cookie_name, self._cookie, httponly=True, samesite="strict", secure=secure)
            return answer
        text = "a token is needed: Authorization: Bearer TOKEN, or open /?token=TOKEN once"
        return _line(text, 401, {"www-authenticate": "Bearer"})


async def _refuse_websocket(answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuses the handshake with an HTTP answer where the server can do that, which uvicorn can."""
    await receive()
    if "websocket.http.response" in scope.get("extensions", {}):
        headers = answer.raw_headers
        await send({"type": "websocket.http.response.start", "status": answer.status_code, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": bytes(answer.body)})
    else:
        await send({"type": "websocket.close", "code": 1008})


def _line(text: str, status: int, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{text}\n", status, headers)


def _name(host: str) -> str:
    """The name of a Host header without its port, lower case; IPv6 addresses stay in brackets."""
    name, _, port = host.rpartition(":")
    return (name if name and port.isdigit() else host).lower()


def _same(origin: str, host: str) -> bool:
    """Whether the page that connects is of the host that it connects to."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(host) and parts.netloc.lower() == host.lower()
