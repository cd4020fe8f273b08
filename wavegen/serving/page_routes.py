"""The page: that of `wavegen export --to web`, whose sound and images are made by the service."""

import re
from functools import cache
from importlib.resources import files

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from wavegen.serving.middle import COOKIE

POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self' {socket}; style-src 'self'; img-src 'self' data: blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SHARED = (
    "controls.js easel.js engine.js images.js keys.js output.js playback.js sound.js spectrogram.js style.css tape.js"
)
PAGE = {
    **dict.fromkeys(SHARED.split(), "wavegen.export"),
    **dict.fromkeys(["page.js", "remote.js"], "wavegen.serving"),
}
CHANGED_IN_PAGE = [  # patterns of what the page says where it makes everything itself
    (r'<meta http-equiv="Content-Security-Policy"[^>]*>\n', ""),
    (r'(href|src)="(style\.css|page\.js)"', r'\1="page/\2"'),
    (r'<script src="plain\.js"></script>\n', ""),
    ("with JavaScript and WebAssembly", "with JavaScript"),
    (
        r"Everything is made in this page, on your device; nothing is sent anywhere\.",
        "Sound and images are made by the service that this page comes from.",
    ),
]
MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css"}


def add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page(request: Request, token: str | None = None) -> Response:
        host = request.headers.get("host", "")
        headers = {
            "Content-Security-Policy": POLICY.format(socket=f"ws://{host} wss://{host}" if is_host(host) else "")
        }
        response = Response(page_html(), media_type="text/html", headers=headers)
        if token is not None:
            response.set_cookie(COOKIE, token, httponly=True, samesite="strict")
        return response

    @app.get("/page/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        if name not in PAGE:
            raise HTTPException(404)
        suffix = name[name.rindex(".") :]
        data = files(PAGE[name]).joinpath("page", name).read_bytes()
        return Response(data, media_type=MEDIA_TYPES[suffix], headers={"Cache-Control": "no-cache"})


def is_host(text: str) -> bool:
    """Whether a header holds the name of a host, and nothing that means more where it is repeated."""
    return re.fullmatch(r"[A-Za-z0-9.:\[\]-]+", text) is not None


@cache
def page_html() -> str:
    """The page of `wavegen export --to web`, whose sound and images are made elsewhere."""
    html = files("wavegen.export").joinpath("page", "index.html").read_text()
    for before, after in CHANGED_IN_PAGE:
        html, n = re.subn(before, after, html)
        assert n, f"{before} is not in the page"
    return html
