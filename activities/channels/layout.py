"""The one look of our mails: a column, one button, a quiet footer; every style inline, readable in the dark too."""

from __future__ import annotations

from html import escape

from activities import markup
from activities.templates import Rendered

_FONT = "font-family:-apple-system,BlinkMacSystemFont,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
_LINK = ' style="color:#1d4ed8"'
_STYLED = {
    "<p>": '<p style="margin:0 0 16px">',
    "<h2>": '<h2 style="margin:24px 0 12px;font-size:20px;line-height:28px">',
    "<ul>": '<ul style="margin:0 0 16px;padding-left:24px">',
    "<ol>": '<ol style="margin:0 0 16px;padding-left:24px">',
    "<li>": '<li style="margin:0 0 6px">',
}
# Clients that know no dark mode ignore the style block; all others get colours that keep their contrast.
_HEAD = (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width,initial-scale=1">'
    '<meta name="color-scheme" content="light dark"><meta name="supported-color-schemes" content="light dark">'
)
_DARK = (
    "<style>@media (prefers-color-scheme:dark){.page{background:#111827!important}"
    ".card{background:#1f2937!important;color:#f3f4f6!important}.card a.text{color:#93c5fd!important}"
    ".quiet,.quiet a{color:#9ca3af!important}}</style>"
)
_OPEN = (
    '</head>\n<body class="page" style="margin:0;padding:0;background:#f3f4f6">'
    '<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0">'
    '<tr><td align="center" style="padding:24px 12px">'
    '<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0" style="max-width:600px">\n'
    '<tr><td class="card" style="background:#ffffff;color:#111827;border-radius:8px;padding:32px;'
    f'font-size:16px;line-height:24px;{_FONT}">\n'
)
# A cell with its own colour and a padded link: a button in every client, with pictures off too.
_BUTTON = (
    '\n<table role="presentation" cellpadding="0" cellspacing="0" border="0" style="margin:8px 0 0">'
    '<tr><td bgcolor="#1d4ed8" style="border-radius:6px">'
    '<a href="{url}" style="display:inline-block;padding:12px 24px;border-radius:6px;background:#1d4ed8;color:#ffffff;'
    'font-weight:600;text-decoration:none">{label}</a></td></tr></table>\n</td></tr>\n'
)
_FOOTER = (
    f'<tr><td class="quiet" style="padding:16px 32px;color:#6b7280;font-size:13px;line-height:18px;{_FONT}">'
    "{footer}</td></tr>\n"
)
_CLOSE = "</table></td></tr></table></body></html>\n"


def html_part(message: Rendered, *, sender: str, unsubscribe_url: str = "") -> str:
    """The whole HTML document. `sender` is who writes, with the postal address where the law asks for one."""
    body = markup.html(message.blocks, f' class="text"{_LINK}')
    for tag, styled in _STYLED.items():
        body = body.replace(tag, styled)
    button = _BUTTON.format(url=escape(message.action_url), label=escape(message.action_label))
    title = f"<title>{escape(message.subject)}</title>"
    return "".join((_HEAD, title, _DARK, _OPEN, body, button, _footer(sender, unsubscribe_url), _CLOSE))


def text_part(message: Rendered, *, sender: str, unsubscribe_url: str = "") -> str:
    """The same for people who read text."""
    parts = [markup.text(message.blocks), f"{message.action_label}:\n{message.action_url}"]
    footer = [line for line in (sender, f"Unsubscribe: {unsubscribe_url}" if unsubscribe_url else "") if line]
    if footer:
        # "-- " opens a signature (RFC 3676 §4.3); readers fold it away.
        parts.append("-- \n" + "\n".join(footer))
    return "\n\n".join(parts) + "\n"


def _footer(sender: str, unsubscribe_url: str) -> str:
    lines = [escape(sender)] if sender else []
    if unsubscribe_url:
        lines.append(f'<a href="{escape(unsubscribe_url)}" style="color:#6b7280">Unsubscribe</a>')
    return _FOOTER.format(footer="<br>".join(lines)) if lines else ""
