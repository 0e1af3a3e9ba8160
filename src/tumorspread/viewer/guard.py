"""Who may ask: judged before a request reaches anything else.

The viewer listens on this machine alone, but every page that a browser shows can send requests there. So each request
must name our own address (a foreign name that points here is DNS rebinding), carry the token, and where it says from
which page it comes, that page must be ours.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
SAFE = ("GET", "HEAD")
# Frameworks take these for another method than the one that was judged.
OVERRIDES = (b"x-http-method-override", b"x-http-method", b"x-method-override")
# NiiVue compiles its shaders, makes pictures of blobs and runs workers of its own; nothing comes from elsewhere.
POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"cache-control", b"no-store"),
)


@dataclass(frozen=True)
class Refusal:
    """Why a request is not answered."""

    status: int
    text: str


@dataclass(frozen=True)
class Access:
    """What a request must show.

    Attributes:
        port: we listen at.
        token: the secret of this session.
    """

    port: int
    token: str

    @property
    def hosts(self) -> tuple[str, ...]:
        """Our own address, as a browser may write it."""
        return (f"127.0.0.1:{self.port}", f"localhost:{self.port}")

    @property
    def cookie(self) -> str:
        """Name of the cookie; browsers share cookies among the ports of a machine, so the port is part of it."""
        return f"tumorspread_token_{self.port}"

    def is_token(self, text: str) -> bool:
        """Whether it is the token; takes as long for any other text, of any length."""
        one, other = (sha256(t.encode("utf-8", "surrogatepass")).digest() for t in (text, self.token))
        return hmac.compare_digest(one, other)


class Guard:
    """An ASGI application that lets through to another what `Access` allows.

    Args:
        app: the other one.
        access: what a request must show.
    """

    def __init__(self, app: Asgi, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        refusal = refuse(scope, self._access)
        if refusal is not None:
            await _answer(refusal, send)
            return
        await self._app(scope, receive, _with_headers(send, self._new_cookie(scope)))

    def _new_cookie(self, scope: Scope) -> str | None:
        if scope["path"] != "/" or not _query_tokens(scope):
            return None
        return f"{self._access.cookie}={self._access.token}; Path=/; HttpOnly; SameSite=Strict"


def refuse(scope: Scope, access: Access) -> Refusal | None:
    """Why a request is refused; None for one that may pass."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1 or hosts[0].decode("latin-1").lower() not in access.hosts:
        return Refusal(421, "this viewer answers to 127.0.0.1 and localhost alone")
    if scope["method"] not in METHODS:
        return Refusal(405, "this method is not known here")
    names = {name for name, _ in headers}
    if b"upgrade" in names or names & set(OVERRIDES):
        return Refusal(400, "no other protocol is spoken here, and a method is not overridden")
    if not scope.get("raw_path", b"").isascii() or "\0" in scope["path"] or ".." in scope["path"].split("/"):
        return Refusal(400, "this path leads nowhere")
    return _refuse_origin(scope, headers, access) or _refuse_token(scope, headers, access)


def _refuse_origin(scope: Scope, headers: list[tuple[bytes, bytes]], access: Access) -> Refusal | None:
    origins = [value.decode("latin-1") for name, value in headers if name == b"origin"]
    own = [f"http://{host}" for host in access.hosts]
    if any(origin not in own for origin in origins):
        return Refusal(403, "this request comes from another page")
    sites = [value for name, value in headers if name == b"sec-fetch-site"]
    if scope["method"] not in SAFE and any(site not in (b"same-origin", b"none") for site in sites):
        return Refusal(403, "this request comes from another page")
    return None


def _refuse_token(scope: Scope, headers: list[tuple[bytes, bytes]], access: Access) -> Refusal | None:
    """The token in the address counts for the first page alone."""
    given = _query_tokens(scope) if scope["path"] == "/" and scope["method"] in SAFE else []
    for name, value in headers:
        text = value.decode("latin-1")
        if name == b"authorization":
            given.append(text.removeprefix("Bearer ") if text.startswith("Bearer ") else "")
        if name == b"cookie" and not given:
            given += _cookies(text, access.cookie)
    if given and all(access.is_token(token) for token in given):
        return None
    return Refusal(401, "the token is missing or wrong: open the address that `tumorspread view` printed")


def _query_tokens(scope: Scope) -> list[str]:
    return parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).get("token", [])


def _cookies(text: str, name: str) -> list[str]:
    try:
        found = SimpleCookie(text).get(name)
    except CookieError:
        return []
    return [] if found is None else [found.value]


def _with_headers(send: Send, cookie: str | None) -> Send:
    async def send_more(message: Message) -> None:
        if message["type"] == "http.response.start":
            known = {name.lower() for name, _ in message["headers"]}
            more = [(name, value) for name, value in HEADERS if name not in known]
            if cookie is not None and message["status"] == 200:
                more.append((b"set-cookie", cookie.encode("ascii")))
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return send_more


async def _answer(refusal: Refusal, send: Send) -> None:
    content = json.dumps({"error": refusal.text}).encode()
    # Without reading what may come: the connection ends with the answer.
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        (b"connection", b"close"),
        *HEADERS,
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
