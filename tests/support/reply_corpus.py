"""Answers to mails as people and mail programs write them, each with what is to be read from it.

Written for these tests. `expected` is the person's text, `AUTOMATIC` for a program's mail; an opt-out is the keyword alone.
"""

from __future__ import annotations

import base64
import quopri
from dataclasses import dataclass

OURS = "<9f86d081884c7d659a2feaa0c55ad015@tenure.example>"
AUTOMATIC = "(automatic)"
HELLO = "> Hello Ada,\n>\n> your first steps are ready.\n> Tenure\n"


@dataclass(frozen=True)
class Reply:
    """A mail that answers ours, and the text that a task shows. `stops`: it is an opt-out."""

    label: str
    raw: bytes
    expected: str
    stops: bool = False


def reply(
    label: str,
    body: str | bytes,
    expected: str,
    *,
    stops: bool = False,
    subject: str = "Re: Your first steps",
    head: str = "",
    kind: str = "text/plain; charset=utf-8",
    encoding: str = "8bit",
    sender: str = "Ada Lovelace <ada@example.com>",
) -> Reply:
    content = body if isinstance(body, bytes) else body.encode()
    if encoding == "quoted-printable":
        content = quopri.encodestring(content)
    elif encoding == "base64":
        content = base64.encodebytes(content)
    head = (
        f"From: {sender}\nTo: replies@in.example.com\nSubject: {subject}\nIn-Reply-To: {OURS}\nMessage-ID: <answer@example.com>\n"
        f"MIME-Version: 1.0\nContent-Type: {kind}\nContent-Transfer-Encoding: {encoding}\n{head}\n"
    )
    return Reply(
        label,
        head.encode().replace(b"\n", b"\r\n") + content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
        expected,
        stops,
    )


def stop(label: str, body: str, word: str, **more: str) -> Reply:
    return reply(label, body, word, stops=True, **more)


def html(label: str, body: str, expected: str, *, stops: bool = False) -> Reply:
    return reply(
        label,
        f"<html><head><style>p {{color: red}}</style></head><body>{body}</body></html>",
        expected,
        stops=stops,
        kind="text/html; charset=utf-8",
    )


def absent(label: str, subject: str, head: str = "") -> Reply:
    return reply(label, "I am away until Monday.\n", AUTOMATIC, subject=subject, head=head)


YES = "Yes, call me on Friday."
BELOW = {
    "gmail": f"On Mon, May 4, 2026 at 9:30 AM Tenure <hello@tenure.example> wrote:\n\n{HELLO}",
    "gmail-wrapped": f"On Mon, May 4, 2026 at 9:30 AM Tenure Customer Success <\nhello@tenure.example> wrote:\n\n{HELLO}",
    "gmail-de": f"Am Mo., 4. Mai 2026 um 09:30 Uhr schrieb Tenure <hello@tenure.example>:\n\n{HELLO}",
    "gmail-fr": f"Le lun. 4 mai 2026 à 09:30, Tenure <hello@tenure.example> a écrit :\n\n{HELLO}",
    "gmail-es": f"El lun, 4 may 2026 a las 9:30, Tenure (<hello@tenure.example>) escribió:\n\n{HELLO}",
    "gmail-it": f"Il giorno lun 4 mag 2026 alle ore 09:30 Tenure <hello@tenure.example> ha scritto:\n\n{HELLO}",
    "gmail-nl": f"Op ma 4 mei 2026 om 09:30 schreef Tenure <hello@tenure.example>:\n\n{HELLO}",
    "apple": f"> On 4. May 2026, at 09:30, Tenure <hello@tenure.example> wrote:\n> \n{HELLO}",
    "apple-de": f"> Am 04.05.2026 um 09:30 schrieb Tenure <hello@tenure.example>:\n> \n{HELLO}",
    "thunderbird": f"On 5/4/26 09:30, Tenure wrote:\n{HELLO}",
    "thunderbird-de": f"Am 04.05.26 um 09:30 schrieb Tenure:\n{HELLO}",
    "outlook": "________________________________\nFrom: Tenure <hello@tenure.example>\nSent: Monday, May 4, 2026 9:30 AM\nTo: Ada Lovelace <ada@example.com>\nSubject: Your first steps\n\nHello Ada,\n\nyour first steps are ready.\n",
    "outlook-desktop": "From: Tenure <hello@tenure.example>\nSent: Monday, May 4, 2026 9:30 AM\nTo: Ada Lovelace <ada@example.com>\nSubject: Your first steps\n\nHello Ada,\n",
    "outlook-de": "Von: Tenure <hello@tenure.example>\nGesendet: Montag, 4. Mai 2026 09:30\nAn: Ada Lovelace <ada@example.com>\nBetreff: Ihre ersten Schritte\n\nHallo Ada,\n",
    "outlook-old": "-----Original Message-----\nFrom: Tenure\nSent: Monday\nTo: Ada\nSubject: Your first steps\n\nHello Ada,\n",
    "outlook-old-de": "-----Ursprüngliche Nachricht-----\nVon: Tenure\nGesendet: Montag\nAn: Ada\nBetreff: Ihre ersten Schritte\n\nHallo Ada,\n",
    "outlook-express": f"----- Original Message ----- \n{HELLO}",
    "gmx-web": "Gesendet: Montag, 04. Mai 2026 um 09:30 Uhr\nVon: Tenure <hello@tenure.example>\nAn: ada@example.com\nBetreff: Ihre ersten Schritte\n\nHallo Ada,\n",
    "bare-quotation": HELLO,
}  # fmt: skip
SIGNATURES = {
    "delimiter": "-- \nAda Lovelace\nHead of Engines\n+49 30 1234567\n",
    "delimiter-without-space": "--\nAda Lovelace\n",
    "iphone": "Sent from my iPhone\n",
    "iphone-de": "Von meinem iPhone gesendet\n",
    "outlook-mobile": "Get Outlook for iOS<https://aka.ms/o0ukef>\n",
    "android": "Sent from Outlook for Android\n",
    "gmx-app": "Diese Nachricht wurde von meinem Android Mobiltelefon mit GMX Mail gesendet.\n",
    "samsung": "Gesendet von meinem Galaxy\n",
    "regards": "Best regards,\nAda Lovelace\nCTO, Example Inc.\n",
    "german": "Mit freundlichen Grüßen\nAda Lovelace\n\nExample GmbH\nAmtsgericht Berlin HRB 1234\n",
    "german-short": "VG Ada\n",
    "lg": "LG\nAda\n",
    "thanks": "Thanks,\nAda\n",
    "french": "Cordialement,\nAda Lovelace\n",
    "dutch": "Met vriendelijke groet,\nAda\n",
}
STOPS = (
    stop("unsubscribe", "Unsubscribe\n", "Unsubscribe"),
    stop("stop-capitals", "STOP!!!\n", "STOP!!!"),
    stop("please-unsubscribe-me", "Please unsubscribe me.\n", "Please unsubscribe me."),
    stop("greeting-and-regards", "Hi Tenure,\n\nplease unsubscribe me.\n\nBest regards,\nAda Lovelace\n", "please unsubscribe me."),
    stop("name-below", "stop\n\nAda\n", "stop"),
    stop("full-name-below", "Unsubscribe\nAda Lovelace\n", "Unsubscribe"),
    stop("remove-me", "Remove me from your list\n\nSent from my iPhone\n", "Remove me from your list"),
    stop("german-abmelden", "Abmelden\n", "Abmelden"),
    stop("german-polite", "Guten Tag,\n\nbitte abmelden.\n\nMit freundlichen Grüßen\nAda Lovelace\n", "bitte abmelden."),
    stop("german-stopp", "Stopp\n\n" + BELOW["outlook-de"], "Stopp"),
    stop("german-no-more", "Bitte keine E-Mails mehr!\n\nVon meinem iPhone gesendet\n\n" + BELOW["apple-de"], "Bitte keine E-Mails mehr!"),
    stop("german-abbestellen", "Newsletter abbestellen\n\n-- \nAda\n", "Newsletter abbestellen"),
    stop("french", "Désabonner\n\n" + BELOW["gmail-fr"], "Désabonner"),
    stop("french-decomposed", "De\u0301sinscription\n", "De\u0301sinscription"),
    stop("spanish", "Baja\n\n" + BELOW["gmail-es"], "Baja"),
    stop("italian", "Cancellami\n\n" + BELOW["gmail-it"], "Cancellami"),
    stop("dutch", "Uitschrijven\n\n" + BELOW["gmail-nl"], "Uitschrijven"),
    stop("subject-alone", "", "unsubscribe", subject="unsubscribe"),
    stop("subject-alone-answered", "\n\n", "Abmelden", subject="AW: Abmelden"),
    stop("below-the-quotation", BELOW["gmail"] + "\nunsubscribe\n", "unsubscribe"),
    html("stop-in-html", "<div dir='ltr'>Unsubscribe</div><br><div class='gmail_quote'><div class='gmail_attr'>On Monday Tenure wrote:<br></div><blockquote>Hello Ada</blockquote></div>", "Unsubscribe", stops=True),
    html("stop-in-html-with-signature", "<p>Stop</p><div class='gmail_signature'>Ada Lovelace<br>CTO</div>", "Stop", stops=True),
)  # fmt: skip
HUMANS = (
    reply("not-an-opt-out", "When does my trial stop?\n", "When does my trial stop?"),
    reply("an-order-is-not-an-opt-out", "cancel my order\n", "cancel my order"),
    reply("two-paragraphs", "Yes.\n\nBut not before June.\n\n" + BELOW["gmail"], "Yes.\n\nBut not before June."),
    reply("list-of-points", "Three things:\n- the export\n- the import\n- the price\n\n" + BELOW["thunderbird"], "Three things:\n- the export\n- the import\n- the price"),
    reply("thanks-within", "Hello,\nThanks, but we moved to another tool already, and the contract ends in June anyway.\n", "Hello,\nThanks, but we moved to another tool already, and the contract ends in June anyway."),
    reply("between-the-lines", "> Shall we call?\nYes.\n> On Friday?\nNo, Monday.\n", "Yes.\nNo, Monday."),
    reply("response-suppress", YES + "\n", YES, head="X-Auto-Response-Suppress: DR, OOF, AutoReply\n"),
    reply("through-a-group", YES + "\n", YES, head="List-Id: Sales <sales.example.com>\nPrecedence: list\nList-Unsubscribe: <mailto:x@example.com>\n"),
    reply("auto-submitted-no", YES + "\n", YES, head="Auto-Submitted: no\n"),
    reply("priority-bulk-is-not-precedence", YES + "\n", YES, head="X-Priority: 3\n"),
    reply("answer-to-an-absence-notice", YES + "\n", YES, subject="Re: Automatic reply: Your first steps"),
    reply("answer-to-a-notice-de", YES + "\n", YES, subject="AW: Abwesenheitsnotiz: Ihre ersten Schritte"),
    reply("latin-1", "Ja, gern am Mittwoch. Schöne Grüße aus Köln".encode("latin-1"), "Ja, gern am Mittwoch. Schöne Grüße aus Köln", kind="text/plain; charset=iso-8859-1"),
    reply("windows-1252", "Sounds “great” – 10 €".encode("cp1252"), "Sounds “great” – 10 €", kind="text/plain; charset=windows-1252"),
    reply("unknown-charset", "Yes, on Friday.", "Yes, on Friday.", kind="text/plain; charset=x-unknown"),
    reply("unknown-charset-utf-8", "Ja, schön.", "Ja, schön.", kind="text/plain; charset=utf8mb4"),
    reply("wrong-charset", "Ja, schön.", "Ja, schön.", kind="text/plain; charset=us-ascii"),
    reply("no-charset", "Ja, schön.", "Ja, schön.", kind="text/plain"),
    reply("base64", YES, YES, encoding="base64"),
    reply("quoted-printable", "Ja, schön. " + "lang " * 30, ("Ja, schön. " + "lang " * 30).strip(), encoding="quoted-printable"),
    reply("subject-when-empty", "", "call me", subject="Re: call me"),
    reply("non-breaking-spaces", "Yes,\u00a0please.\n", "Yes, please."),
    html("html-paragraphs", "<p>Yes,</p><p>on Friday.</p>", "Yes,\n\non Friday."),
    html("html-entities", "<div>Fish &amp; chips &lt;now&gt;&nbsp;please</div>", "Fish & chips <now> please"),
    html("html-gmail", "<div dir='ltr'>Yes.</div><br><div class='gmail_quote gmail_quote_container'><div dir='ltr' class='gmail_attr'>On Mon, May 4, 2026 Tenure wrote:<br></div><blockquote class='gmail_quote'><p>Hello</p></blockquote></div>", "Yes."),
    html("html-outlook-web", "<div>Yes.</div><div id='appendonsend'></div><hr><div id='divRplyFwdMsg'><b>From:</b> Tenure<br><b>Sent:</b> Monday</div><div>Hello Ada</div>", "Yes."),
    html("html-outlook-desktop", "<p class=MsoNormal>Yes.</p><div style='border-top:solid #E1E1E1 1.0pt'><p><b>From:</b> Tenure<br><b>Sent:</b> Monday<br><b>To:</b> Ada<br><b>Subject:</b> steps</p></div><p>Hello Ada</p>", "Yes."),
    html("html-thunderbird", "<p>Yes.</p><div class='moz-cite-prefix'>Am 04.05.26 um 09:30 schrieb Tenure:<br></div><blockquote type='cite'><p>Hello</p></blockquote><div class='moz-signature'>-- <br>Ada</div>", "Yes."),
    html("html-apple", "Yes.<br><div dir='ltr'><br><blockquote type='cite'>Am 04.05.2026 um 09:30 schrieb Tenure:<br></blockquote></div><blockquote type='cite'>Hello</blockquote>", "Yes."),
    html("html-yahoo", "<div>Yes.</div><div class='yahoo_quoted'><div>On Monday, Tenure wrote:</div><div>Hello</div></div>", "Yes."),
    html("html-proton", "<div>Yes.</div><div class='protonmail_quote'>On Monday, Tenure wrote:<br><blockquote>Hello</blockquote></div>", "Yes."),
    html("html-unclosed", "<p>Yes<br>please<div>now", "Yes\nplease\nnow"),
    reply("empty-plain-part", "--b\nContent-Type: text/plain\n\n\n--b\nContent-Type: text/html; charset=utf-8\n\n<p>Yes.</p>\n--b--\n", "Yes.", kind="multipart/alternative; boundary=b"),
    reply("attachment-is-no-text", "--b\nContent-Type: text/plain\nContent-Disposition: attachment; filename=a.txt\n\nnotes\n--b\nContent-Type: text/html\n\n<p>Yes.</p>\n--b--\n", "Yes.", kind="multipart/mixed; boundary=b"),
    reply("unknown-charset-in-a-part", "--b\nContent-Type: text/plain; charset=nope\n\nYes.\n--b\nContent-Type: text/html; charset=nope\n\n<p>Yes.</p>\n--b--\n", "Yes.", kind="multipart/alternative; boundary=b"),
)  # fmt: skip
QUOTED = tuple(reply(f"above-{name}", f"{YES}\n\n{below}", YES) for name, below in BELOW.items())
SIGNED = tuple(
    reply(f"signed-{name}", f"{YES}\n\n{signature}\n{BELOW['gmail']}", YES) for name, signature in SIGNATURES.items()
)
ABSENCES = (
    absent("outlook", "Automatic reply: Your first steps"),
    absent("outlook-de", "Automatische Antwort: Ihre ersten Schritte"),
    absent("outlook-fr", "Réponse automatique : Vos premiers pas"),
    absent("outlook-es", "Respuesta automática: Primeros pasos"),
    absent("outlook-it", "Risposta automatica: primi passi"),
    absent("outlook-nl", "Automatisch antwoord: eerste stappen"),
    absent("office", "Out of Office: Your first steps"),
    absent("office-ooo", "OOO: back on Monday"),
    absent("lotus-de", "Abwesenheitsnotiz: Ihre ersten Schritte"),
    absent("abwesend", "Abwesend: bis Montag"),
    absent("im-out", "I am out of the office until Monday"),
    absent("auto", "Auto: Your first steps"),
    absent("german-office", "Nicht im Büro: Ihre ersten Schritte"),
    absent("by-header", "Your first steps", "Auto-Submitted: auto-replied\n"),
    absent("by-old-header", "Your first steps", "X-Autoreply: yes\n"),
    absent("by-precedence", "Your first steps", "Precedence: auto_reply\n"),
    absent("by-return-path", "Your first steps", "Return-Path: <>\n"),
    absent("encoded-subject", "=?utf-8?B?QXV0b21hdGlzY2hlIEFudHdvcnQ6IFNjaHJpdHRl?="),
)
CORPUS = (*STOPS, *HUMANS, *QUOTED, *SIGNED, *ABSENCES)
