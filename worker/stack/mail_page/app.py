"""HTTP application of the mail page: list, single mail, source.

A mail may contain anything. Its HTML is shown in a sandboxed frame under a policy that loads nothing and runs no script, so
remote images, fonts and trackers are never fetched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import uvicorn
from jinja2 import DictLoader, Environment
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from worker.stack.mail_page.caught import list_mails, read_caught_mail, read_raw
from worker.stack.mail_page.markup import PAGES, STYLE

HOSTS: Final = ["127.0.0.1", "localhost"]
"""Names by which a person opens the page. Any other may be a foreign page that has rebound its name to this machine."""
_PRIVATE: Final = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_PAGE: Final = {
    **_PRIVATE,
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; frame-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
}
SANDBOX: Final = "allow-popups allow-popups-to-escape-sandbox"
"""Links open in a tab of their own; nothing else is allowed."""
_MAIL: Final = {
    **_PRIVATE,
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    f"form-action 'none'; frame-ancestors 'self'; sandbox {SANDBOX}",
}
_templates = Environment(loader=DictLoader(PAGES), autoescape=True)


def mail_page(maildir: Path) -> Starlette:
    """The application over the mails of a Maildir. It changes nothing."""

    def index(_: Request) -> Response:
        return _page("index", mails=list_mails(maildir))

    def mail(request: Request) -> Response:
        found = read_caught_mail(maildir, request.path_params["name"])
        return _missing() if found is None else _page("mail", mail=found, sandbox=SANDBOX)

    def html(request: Request) -> Response:
        found = read_caught_mail(maildir, request.path_params["name"])
        if found is None or not found.html:
            return _missing()
        return HTMLResponse(f'<base target="_blank">{found.html}', headers=_MAIL)

    def raw(request: Request) -> Response:
        content = read_raw(maildir, request.path_params["name"])
        return _missing() if content is None else PlainTextResponse(content.decode("utf-8", "replace"), headers=_MAIL)

    def style(_: Request) -> Response:
        return Response(STYLE, media_type="text/css", headers=_PRIVATE)

    routes = [
        Route("/", index),
        Route("/style.css", style),
        Route("/mails/{name}", mail),
        Route("/mails/{name}/html", html),
        Route("/mails/{name}/raw", raw),
    ]
    return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)])


class PageServer(uvicorn.Server):
    """Ends when `should_exit` is set: signals are for the mail sink."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def page_server(maildir: Path, host: str, port: int) -> PageServer:
    """A server of the page; the caller serves it and sets `should_exit`."""
    return PageServer(
        uvicorn.Config(
            mail_page(maildir), host=host, port=port, lifespan="off", ws="none", access_log=False, log_level="warning"
        )
    )


def _page(name: str, **values: Any) -> Response:
    return HTMLResponse(_templates.get_template(name).render(values), headers=_PAGE)


def _missing() -> Response:
    return PlainTextResponse("There is no such mail.\n", 404, headers=_PRIVATE)
