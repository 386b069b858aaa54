"""Bounces as mail servers, gateways and providers write them, each with the class of its failure.

Written for these tests in the forms that each program is known for; the damage is of kinds that are common in real ones.
"""

from __future__ import annotations

import base64
import quopri
from dataclasses import dataclass

TO = "ada@example.com"
OURS = "<9f86d081884c7d659a2feaa0c55ad015@tenure.example>"
HARD, SOFT, SENDER, LATE, HELD = "hard", "soft", "sender", "late", "held"
COPY = f"Received: from app (10.0.0.1)\nFrom: Tenure <hello@tenure.example>\nTo: {TO}\nSubject: Your first steps\nMessage-ID: {OURS}\n\nHello Ada\n"


@dataclass(frozen=True)
class Bounce:
    """A mail, and what is to be read from it: a class, `late` for nothing failed, or `held` for a person."""

    label: str
    text: str
    expected: str
    raw: bytes | None = None

    @property
    def mail(self) -> bytes:
        """The mail as it arrives, with CRLF."""
        return self.raw if self.raw is not None else self.text.replace("\n", "\r\n").encode()


def dsn(
    label: str,
    expected: str,
    status: str = "5.1.1",
    diagnostic: str = "",
    *,
    action: str = "Action: failed",
    final: str = f"Final-Recipient: rfc822; {TO}",
    sender: str = "MAILER-DAEMON@mx.example.com",
    subject: str = "Undelivered Mail Returned to Sender",
    kind: str = "multipart/report; report-type=delivery-status",
    part: str = "message/delivery-status",
    copy: str = "message/rfc822",
    words: str = "Your message could not be delivered.",
    encoding: str = "",
    extra: str = "",
) -> Bounce:
    """A report in the parts of RFC 3464. `Diagnostic-Code` is left out if empty; `encoding` is that of the status part."""
    fields = [
        final,
        action,
        f"Status: {status}" if status else "",
        f"Diagnostic-Code: {diagnostic}" if diagnostic else "",
        extra,
    ]
    block = "\n".join(field for field in fields if field)
    report = f"Reporting-MTA: dns; mx.example.com\nArrival-Date: Sun, 3 May 2026 09:30:08 +0000\n\n{block}\n"
    if encoding == "base64":
        report = base64.encodebytes(report.encode()).decode()
    transfer = f"\nContent-Transfer-Encoding: {encoding}" if encoding else ""
    returned = f"\n--b\nContent-Type: {copy}\n\n{COPY}" if copy else ""
    reference = "" if copy else f"In-Reply-To: {OURS}\n"
    return Bounce(
        label,
        f"From: {sender}\nTo: hello@tenure.example\nSubject: {subject}\n{reference}MIME-Version: 1.0\n"
        f"Content-Type: {kind}; boundary=b\n\n--b\nContent-Type: text/plain; charset=utf-8\n\n{words}\n"
        f"\n--b\nContent-Type: {part}{transfer}\n\n{report}{returned}\n--b--\n",
        expected,
    )


def plain(
    label: str, expected: str, sender: str, subject: str, body: str, *, head: str = "", copy: str = COPY
) -> Bounce:
    """A bounce of text alone, with the returned mail below it."""
    return Bounce(
        label, f"From: {sender}\nTo: hello@tenure.example\nSubject: {subject}\n{head}\n{body}\n{copy}", expected
    )


def qmail(label: str, expected: str, reason: str, host: str = "mx.example.com") -> Bounce:
    """qmail-send's bounce message format (QSBMF)."""
    return plain(
        label,
        expected,
        f"MAILER-DAEMON@{host}",
        "failure notice",
        f"Hi. This is the qmail-send program at {host}.\nI'm afraid I wasn't able to deliver your message to the following addresses.\n"
        f"This is a permanent error; I've given up. Sorry it didn't work out.\n\n<{TO}>:\n{reason}\n\n"
        "--- Below this line is a copy of the message.\n",
        head="Return-Path: <>\n",
    )


def exim(label: str, expected: str, reason: str, *, failed: str = TO) -> Bounce:
    """Exim's bounce before 4.8x and as many hosters still send it."""
    return plain(
        label,
        expected,
        "Mail Delivery System <Mailer-Daemon@host.example.net>",
        "Mail delivery failed: returning message to sender",
        "This message was created automatically by mail delivery software.\n\nA message that you sent could not be delivered to one or "
        f"more of its\nrecipients. This is a permanent error. The following address(es) failed:\n\n  {TO}\n    {reason}\n\n"
        "------ This is a copy of the message, including all the headers. ------\n",
        head=f"X-Failed-Recipients: {failed}\nAuto-Submitted: auto-replied\n",
    )


REPORTS = (
    dsn(
        "postfix-unknown",
        HARD,
        "5.1.1",
        f"smtp; 550 5.1.1 <{TO}>: Recipient address rejected: User unknown in local recipient table",
    ),
    dsn(
        "postfix-nxdomain",
        SOFT,
        "5.4.4",
        "X-Postfix; Host or domain name not found. Name service error for name=example.com type=A",
    ),
    dsn("postfix-null-mx", HARD, "5.1.10", "X-Postfix; Domain example.com does not accept mail (nullMX)"),
    dsn("postfix-expired", SOFT, "4.4.1", "X-Postfix; connect to mx.example.com[192.0.2.1]:25: Connection timed out"),
    dsn(
        "postfix-size",
        SENDER,
        "5.3.4",
        "X-Postfix; message size 31457280 exceeds size limit 26214400 of server mx.example.com",
    ),
    dsn("postfix-loop", SOFT, "5.4.6", "X-Postfix; mail for example.com loops back to myself"),
    dsn(
        "postfix-late",
        LATE,
        "4.4.1",
        "X-Postfix; connect to mx.example.com: Connection refused",
        action="Action: delayed",
        subject="Delayed Mail",
    ),
    dsn(
        "sendmail-550",
        HARD,
        "5.1.1",
        "SMTP; 550 5.1.1 User unknown",
        subject="Returned mail: see transcript for details",
    ),
    dsn("sendmail-maps-550-to-511", SENDER, "5.1.1", "SMTP; 550 5.7.1 Blocked by policy: no mail from 192.0.2.9"),
    dsn("sendmail-local", HARD, "5.1.1", "X-Unix; 67", final=f"Final-Recipient: RFC822; {TO}"),
    dsn("sendmail-service", SOFT, "5.5.0", "SMTP; 550 Requested action not taken: mailbox unavailable"),
    dsn(
        "exchange-online-not-found",
        HARD,
        "5.1.10",
        "smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; not found by SMTP address lookup",
        sender="postmaster@example.com",
        subject="Undeliverable: Your first steps",
    ),
    dsn(
        "exchange-online-quota",
        SOFT,
        "5.2.2",
        "smtp;554 5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException",
        subject="Undeliverable: Your first steps",
    ),
    dsn(
        "exchange-online-restricted",
        SENDER,
        "5.7.133",
        "smtp;550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup",
        subject="Undeliverable: Your first steps",
    ),
    dsn("exchange-online-banned", SENDER, "5.7.606", "smtp;550 5.7.606 Access denied, banned sending IP [192.0.2.9]"),
    dsn(
        "exchange-online-dmarc",
        SENDER,
        "5.7.509",
        "smtp;550 5.7.509 Access denied, sending domain tenure.example does not pass DMARC verification",
    ),
    dsn("exchange-access-denied", SOFT, "5.4.1", "smtp;550 5.4.1 Recipient address rejected: Access denied"),
    dsn(
        "exchange-german",
        HARD,
        "5.1.1",
        "smtp;550 5.1.1 RESOLVER.ADR.ExRecipNotFound; not found",
        subject="Unzustellbar: Ihre ersten Schritte",
        words=f"Fehler bei der Nachrichtenzustellung an folgende Empfänger:\n{TO}",
    ),
    dsn(
        "exchange-too-large",
        SENDER,
        "5.2.3",
        "smtp;550 5.2.3 RESOLVER.RST.RecipSizeLimit; message too large for this recipient",
    ),
    dsn(
        "gmail-no-account",
        HARD,
        "5.1.1",
        "smtp; 550-5.1.1 The email account that you tried to reach does not exist. Please try double-checking",
        sender="Mail Delivery Subsystem <mailer-daemon@googlemail.com>",
        subject="Delivery Status Notification (Failure)",
    ),
    dsn(
        "gmail-disabled",
        SOFT,
        "5.2.1",
        "smtp; 550-5.2.1 The email account that you tried to reach is inactive.",
        sender="Mail Delivery Subsystem <mailer-daemon@googlemail.com>",
        subject="Delivery Status Notification (Failure)",
    ),
    dsn(
        "gmail-over-quota",
        SOFT,
        "5.2.2",
        "smtp; 552-5.2.2 The email account that you tried to reach is over quota.",
        sender="mailer-daemon@googlemail.com",
    ),
    dsn(
        "gmail-spf-dkim",
        SENDER,
        "5.7.26",
        "smtp; 550-5.7.26 This mail has been blocked because the sender is unauthenticated.",
        sender="mailer-daemon@googlemail.com",
    ),
    dsn(
        "gmail-rate",
        SENDER,
        "4.7.28",
        "smtp; 421-4.7.28 Gmail has detected an unusual rate of unsolicited mail",
        sender="mailer-daemon@googlemail.com",
    ),
    dsn(
        "gmail-spam",
        SENDER,
        "5.7.1",
        "smtp; 550-5.7.1 [192.0.2.9 12] Our system has detected that this message is likely unsolicited mail.",
        sender="mailer-daemon@googlemail.com",
    ),
    dsn(
        "gmail-late",
        LATE,
        "4.4.1",
        "smtp; 451 4.4.1 temporary failure",
        action="Action: delayed",
        sender="mailer-daemon@googlemail.com",
        subject="Delivery Status Notification (Delay)",
    ),
    dsn(
        "outlook-com-block-list",
        SENDER,
        "5.7.1",
        "smtp;550 5.7.1 Unfortunately, messages from [192.0.2.9] weren't sent. part of their network is on our block list (S3150)",
    ),
    dsn(
        "outlook-com-unavailable",
        SOFT,
        "5.5.0",
        "smtp;550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302)",
    ),
    dsn(
        "yahoo-554",
        HARD,
        "5.0.0",
        f"smtp; 554 delivery error: dd This user doesn't have a yahoo.com account ({TO}) [0] - mta4321.mail.ne1.yahoo.com",
    ),
    dsn("yahoo-ts03", SENDER, "5.7.1", "smtp; 553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.9"),
    dsn("icloud-full", SOFT, "5.2.2", "smtp; 552 5.2.2 <ada@example.com>: user is over quota"),
    dsn("t-online", HARD, "5.0.0", "smtp; 550 user not known"),
    dsn("gmx", HARD, "5.0.0", "smtp; 550 Requested action not taken: mailbox unavailable. No such user here"),
    dsn("web-de-rate", SENDER, "4.7.0", "smtp; 450 4.7.0 Requested mail action not taken: too many mails"),
    dsn("exim-generic-status", HARD, "5.0.0", "smtp; 550 5.1.1 <ada@example.com> no such user"),
    dsn("exim-prohibited", SENDER, "5.0.0", "smtp; 550 administrative prohibition"),
    dsn("exim-bare-550", SOFT, "5.0.0", "smtp; 550 Requested action not taken"),
    dsn(
        "proofpoint",
        SENDER,
        "5.7.0",
        "smtp; 554 5.7.0 Reject, id=12345-01 - Blocked by Proofpoint. See https://ipcheck.proofpoint.example/",
    ),
    dsn(
        "mimecast",
        SENDER,
        "5.0.0",
        "smtp; 550 csi.mimecast.org Poor Reputation Sender - https://community.mimecast.example/",
    ),
    dsn(
        "barracuda",
        SENDER,
        "5.0.0",
        "smtp; 554 Service unavailable; Client host [192.0.2.9] blocked using Barracuda Reputation",
    ),
    dsn(
        "spamhaus",
        SENDER,
        "5.7.1",
        "smtp; 554 5.7.1 Service unavailable; Client host [192.0.2.9] blocked using zen.spamhaus.org",
    ),
    dsn("mailgun-domain", HARD, "5.1.2", "smtp; 550 5.1.2 The recipient's domain does not exist"),
    dsn(
        "ses-suppressed",
        HARD,
        "5.1.1",
        "smtp; 550 5.1.1 Amazon SES has suppressed sending to this address because it has a recent history of bouncing",
    ),
    dsn("opensmtpd-action-error", HARD, "5.1.1", "smtp; 550 Invalid recipient", action="Action: error"),
    dsn("action-with-reason", HARD, "5.1.1", "smtp; 550 unknown user", action="Action: failed (permanent failure)"),
    dsn("action-capitals", HARD, "5.1.1", "", action="Action: FAILED"),
    dsn("no-action", HARD, "5.1.1", "smtp; 550 5.1.1 no such user", action=""),
    dsn("recipient-without-type", HARD, "5.1.1", "", final=f"Final-Recipient: {TO}"),
    dsn("recipient-in-brackets", HARD, "5.1.1", "", final=f"Final-Recipient: <{TO}>"),
    dsn("recipient-type-and-brackets", HARD, "5.1.1", "", final=f"Final-Recipient: rfc822;<{TO}>"),
    dsn("recipient-local-type", HARD, "5.1.1", "", final=f"Final-Recipient: LOCAL;{TO}"),
    dsn("recipient-with-name", HARD, "5.1.1", "", final=f"Final-Recipient: rfc822; Ada Lovelace <{TO}>"),
    dsn(
        "recipient-xtext",
        HARD,
        "5.1.1",
        "",
        final="Original-Recipient: rfc822;ada+40example.com\nFinal-Recipient: rfc822;x@internal.example",
    ),
    dsn(
        "actual-recipient",
        HARD,
        "5.1.1",
        "",
        final=f"Final-Recipient: rfc822; a.lovelace@private.example\nX-Actual-Recipient: rfc822; {TO}",
    ),
    dsn(
        "smtputf8",
        HARD,
        "5.1.1",
        "",
        final=f"Final-Recipient: utf-8; {TO}",
        part="message/global-delivery-status",
        copy="message/global-headers",
    ),
    dsn("status-with-comment", HARD, "5.1.1 (bad destination mailbox address)", ""),
    dsn("status-missing", HARD, "", "smtp; 550 5.1.1 unknown"),
    dsn("status-in-base64", HARD, "5.1.1", "smtp; 550 5.1.1 unknown", encoding="base64"),
    dsn("part-in-mixed", HARD, "5.1.1", "smtp; 550 5.1.1 unknown", kind="multipart/mixed"),
    dsn("headers-only", HARD, "5.1.1", "", copy="text/rfc822-headers"),
    dsn("nothing-returned", HARD, "5.1.1", "", copy=""),
    dsn("expanded-list", LATE, "2.0.0", "", action="Action: expanded"),
    dsn("relayed", LATE, "2.0.0", "", action="Action: relayed"),
    dsn("delivered", LATE, "2.0.0", "", action="Action: delivered", subject="Successful Mail Delivery Report"),
    dsn("content-rejected", SENDER, "5.6.0", "smtp; 554 5.6.0 message content rejected"),
    dsn("sender-address", SENDER, "5.1.8", "smtp; 550 5.1.8 Sender address rejected: Domain not found"),
    dsn("our-configuration", SENDER, "5.3.5", "smtp; 554 5.3.5 local configuration error"),
    dsn("system-full", SOFT, "5.3.1", "smtp; 452 4.3.1 Insufficient system storage"),
    dsn("status-of-the-future", SOFT, "5.9.99", "smtp; 550 5.9.99 unheard of"),
    dsn("moved", HARD, "5.1.6", "smtp; 551 5.1.6 recipient has moved"),
)
OLDER = (
    qmail("qmail-no-mailbox", HARD, "192.0.2.1 does not like recipient.\nRemote host said: 550 5.1.1 unknown or illegal alias\nGiving up on 192.0.2.1."),
    qmail("qmail-local", HARD, "Sorry, no mailbox here by that name. (#5.1.1)"),
    qmail("qmail-full", SOFT, "Recipient's mailbox is full, message returned to sender. (#5.2.2)"),
    qmail("qmail-policy", SENDER, "192.0.2.1 failed after I sent the message.\nRemote host said: 554 5.7.1 Message rejected as spam by content scanning"),
    qmail("qmail-expired", SOFT, "Sorry, I wasn't able to establish an SMTP connection. (#4.4.1)\nI'm not going to try again; this message has been in the queue too long."),
    qmail("qmail-550-only", HARD, "Remote host said: 550 No such user here"),
    exim("exim-unrouteable", HARD, "Unrouteable address"),
    exim("exim-remote", HARD, f"SMTP error from remote mail server after RCPT TO:<{TO}>:\n    host mx.example.com [192.0.2.1]: 550 5.1.1 User unknown"),
    exim("exim-remote-policy", SENDER, "SMTP error from remote mail server after end of data:\n    host mx.example.com [192.0.2.1]: 550 High probability of spam"),
    exim("exim-remote-full", SOFT, "SMTP error from remote mail server after end of data:\n    host mx.example.com [192.0.2.1]: 552 5.2.2 mailbox full"),
    exim("exim-retry-timeout", SOFT, "retry timeout exceeded"),
    exim("exim-several-failed", HARD, "550 5.1.1 unknown user", failed=f"someone@example.org, {TO}"),
    plain("gmail-2010-text", HARD, "Mail Delivery Subsystem <mailer-daemon@googlemail.com>", "Delivery Status Notification (Failure)", f"Delivery to the following recipient failed permanently:\n\n     {TO}\n\nTechnical details of permanent failure:\nGoogle tried to deliver your message, but it was rejected by the recipient domain. The error that the other server returned was: 550 550 5.1.1 no such user (state 14).\n\n----- Original message -----\n", head=f"X-Failed-Recipients: {TO}\n"),
    plain("yahoo-text", HARD, "MAILER-DAEMON@yahoo.com", "Failure Notice", f"Sorry, we were unable to deliver your message to the following address.\n\n<{TO}>:\nRemote host said:\n550 5.1.1 User unknown\n\n--- Below this line is a copy of the message.\n"),
    plain("lotus-domino", HARD, "postmaster@example.com", "DELIVERY FAILURE: User ada (ada@example.com) not listed in Domino Directory", f"Your message\n\n  Subject: Your first steps\n\nwas not delivered to:\n\n  {TO}\n\nbecause:\n\n  User ada ({TO}) not listed in Domino Directory\n\n"),
    plain("courier", HARD, "Mail Delivery System <mailer-daemon@courier.example>", "NOTICE: mail delivery status.", f"UNDELIVERABLE MAIL\n\nYour message to the following recipients cannot be delivered:\n\n<{TO}>:\n    mx.example.com [192.0.2.1]:\n<<< 550 User unknown.\n\n"),
    plain("mdaemon", HARD, "MDaemon@mail.example.com", "Warning: ada@example.com - User unknown!", f"The following recipient(s) could not be reached:\n\n  {TO} - no such user\n\n"),
    plain("smtp32", HARD, "Postmaster <postmaster@imail.example>", "Undeliverable Mail", f"User mailbox exceeds allowed size: someone@example.org\nunknown user: {TO}\n\nOriginal message follows.\n\n", head="X-Mailer: <SMTP32 v8.05>\n"),
    plain("t-online-german", HARD, "Mailer-Daemon@t-online.example", "Unzustellbar: Ihre ersten Schritte", f"Ihre Nachricht konnte an folgende Adresse nicht zugestellt werden:\n\n<{TO}>\n\nGrund: Empfänger unbekannt\n\n", head="Content-Type: text/plain; charset=utf-8\n"),
    plain("gmx-german", HARD, "GMX Mailer Daemon <mailer-daemon@gmx.example>", "Mail delivery failed: returning message to sender", f"Diese Nachricht wurde automatisch erzeugt.\n\nDie von Ihnen verschickte E-Mail konnte nicht an die folgende Empfängeradresse ausgeliefert werden:\n\n{TO}:\nSMTP error from remote server for RCPT TO command, host: mx.example.com (192.0.2.1) reason: 550 5.1.1 User unknown\n\n--- The header of the original message is following. ---\n", head="Content-Type: text/plain; charset=utf-8\n"),
    plain("orange-french", HARD, "MAILER-DAEMON@orange.example", "Échec de la remise : vos premiers pas", f"Le message n'a pas pu être remis à :\n\n<{TO}>\n550 5.1.1 Adresse d'au moins un destinataire invalide\n\n", head="Content-Type: text/plain; charset=utf-8\n"),
    plain("zimbra-late", LATE, "MAILER-DAEMON@zimbra.example", "Warning: could not send message for past 4 hours", f"    **********************************************\n    **      THIS IS A WARNING MESSAGE ONLY      **\n    **  YOU DO NOT NEED TO RESEND YOUR MESSAGE  **\n    **********************************************\n\nThe original message was received at Sun, 3 May 2026\n\n   ----- Transcript of session follows -----\n{TO}... Deferred: Connection timed out\nWarning: message still undelivered after 4 hours\nWill keep trying until message is 5 days old\n\n"),
    plain("exim-late", LATE, "Mailer-Daemon@host.example.net", "Warning: message 1abc delayed 24 hours", f"This message was created automatically by mail delivery software.\nA message that you sent has not yet been delivered to one or more of its\nrecipients after more than 24 hours on the queue.\n\nThe address to which the message has not yet been delivered is:\n\n  {TO}\n    Delay reason: Connection timed out\n\nNo action is required on your part. Delivery attempts will continue.\n\n"),
    plain("gateway-without-address", HELD, "postmaster@gateway.example", "Undeliverable mail", "Your mail could not be delivered. Contact your administrator.\n"),
    plain("bounce-without-mail", HELD, "MAILER-DAEMON@old.example", "Returned mail: User unknown", f"<{TO}>... 550 User unknown\n", copy=""),
    plain("fields-in-text", HARD, "postmaster@appliance.example", "Delivery failure", f"The mail was rejected.\n\nFinal-Recipient: rfc822; {TO}\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 unknown\n\n"),
    plain("quota-in-words", SOFT, "postmaster@appliance.example", "Delivery failure", f"<{TO}>: the mailbox is full, try again later\n\n"),
    plain("block-in-words", SENDER, "postmaster@appliance.example", "Delivery failure", f"<{TO}>: your server is on our blocklist\n\n"),
)  # fmt: skip


def _encoded(label: str, transfer: str, charset: str) -> Bounce:
    body = f"Die E-Mail an <{TO}> konnte nicht zugestellt werden:\nEmpfänger unbekannt\n\n{COPY}"
    raw = body.encode("latin-1")
    coded = base64.encodebytes(raw) if transfer == "base64" else quopri.encodestring(raw)
    head = f"From: MAILER-DAEMON@mx.example\r\nSubject: Unzustellbar\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset={charset}\r\n"
    return Bounce(label, "", HARD, f"{head}Content-Transfer-Encoding: {transfer}\r\n\r\n".encode() + coded)


BROKEN = (
    _encoded("text-in-base64", "base64", "iso-8859-1"),
    _encoded("text-in-quoted-printable", "quoted-printable", "iso-8859-1"),
    _encoded("unknown-charset", "quoted-printable", "x-unknown"),
    Bounce("html-only", f"From: postmaster@cloud.example\nSubject: Undeliverable: hello\nContent-Type: text/html\n\n<html><body><p>Your message to <b>{TO}</b> was rejected:</p><p>550 5.1.1 no such user</p><pre>Message-ID: {OURS.replace('<', '&lt;').replace('>', '&gt;')}</pre></body></html>\n", HARD),
    Bounce("line-feeds-only", "", HARD, dsn("", HARD, "5.1.1", "smtp; 550 5.1.1 unknown").text.encode()),
    Bounce("no-end-of-parts", dsn("", HARD, "5.1.1", "smtp; 550 5.1.1 unknown").text.removesuffix("--b--\n"), HARD),
    Bounce("folded-message-id", dsn("", HARD).text.replace("Message-ID: ", "Message-ID:\n "), HARD),
    Bounce("copy-is-quoted", f"From: mailer-daemon@relay.example\nSubject: failure notice\n\n<{TO}>: 550 5.1.1 unknown user\n\n> Message-ID: {OURS}\n> Subject: hello\n", HARD),
)  # fmt: skip
CORPUS = (*REPORTS, *OLDER, *BROKEN)
