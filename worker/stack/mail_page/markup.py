"""Markup of the mail page: two pages and their style."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PAGES: Final[Mapping[str, str]] = {
    "frame": """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{% block title %}Caught mails{% endblock %}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/style.css"></head>
<body><main>{% block main %}{% endblock %}</main></body>
</html>
""",
    "index": """{% extends "frame" %}
{% block main %}
<h1>Caught mails</h1>
<p>The mail sink has accepted these mails and delivered none. The newest is first.</p>
{% if mails %}
<table>
<thead><tr><th scope="col">To</th><th scope="col">Subject</th><th scope="col">Date</th></tr></thead>
<tbody>
{% for mail in mails %}<tr><td>{{ mail.to }}</td>
<td><a href="/mails/{{ mail.name }}">{{ mail.subject or "(no subject)" }}</a></td><td>{{ mail.date }}</td></tr>
{% endfor %}</tbody>
</table>
{% else %}<p>No mail has been sent yet.</p>{% endif %}
{% endblock %}
""",
    "mail": """{% extends "frame" %}
{% block title %}{{ mail.subject }}{% endblock %}
{% block main %}
<p><a href="/">All mails</a></p>
<h1>{{ mail.subject or "(no subject)" }}</h1>
<dl><dt>From</dt><dd>{{ mail.sender }}</dd><dt>To</dt><dd>{{ mail.to }}</dd><dt>Date</dt><dd>{{ mail.date }}</dd></dl>
{% if mail.html %}<h2>HTML</h2>
<iframe sandbox="{{ sandbox }}" src="/mails/{{ mail.name }}/html" title="HTML part of the mail"
 referrerpolicy="no-referrer"></iframe>{% endif %}
{% if mail.text %}<h2>Text</h2>
<pre>{{ mail.text }}</pre>{% endif %}
{% if mail.attachments %}<h2>Attachments</h2>
<ul>{% for name in mail.attachments %}<li>{{ name }}</li>{% endfor %}</ul>{% endif %}
<h2>Headers</h2>
<table>{% for name, value in mail.headers %}<tr><th scope="row">{{ name }}</th><td>{{ value }}</td></tr>
{% endfor %}</table>
<p><a href="/mails/{{ mail.name }}/raw">Source</a></p>
{% endblock %}
""",
}
STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff; margin: 0 }
main { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; overflow-wrap: anywhere }
tr { border-bottom: 1px solid #d8dee4 }
iframe { width: 100%; height: 36rem; border: 1px solid #d8dee4; background: #fff }
pre { white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid #d8dee4; padding: 1rem }
dt { font-weight: 600 } dd { margin: 0 0 .4rem }
"""
