"""Delivery status notifications in the formats of Postfix and Exchange Online, and one without the mail."""

from __future__ import annotations

TO = "ada@example.com"
POSTFIX = """Return-Path: <>
Date: Sun,  3 May 2026 09:30:09 +0000 (UTC)
From: MAILER-DAEMON@relay.tenure.example (Mail Delivery System)
Subject: {subject}
To: hello@tenure.example
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="4XyZ123abc.1777800609/relay.tenure.example"
Content-Transfer-Encoding: 8bit
Message-Id: <20260503093009.4XyZ124def@relay.tenure.example>

This is a MIME-encapsulated message.

--4XyZ123abc.1777800609/relay.tenure.example
Content-Description: Notification
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

This is the mail system at host relay.tenure.example.

<{to}>: host mx.example.com[192.0.2.1] said: {said}

--4XyZ123abc.1777800609/relay.tenure.example
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; relay.tenure.example
X-Postfix-Queue-ID: 4XyZ123abc
X-Postfix-Sender: rfc822; hello@tenure.example
Arrival-Date: Sun,  3 May 2026 09:30:08 +0000 (UTC)

Final-Recipient: rfc822; {to}
Original-Recipient: rfc822;{original}
Action: {action}
Status: {status}
Remote-MTA: dns; mx.example.com
Diagnostic-Code: smtp; {said}

--4XyZ123abc.1777800609/relay.tenure.example
Content-Description: Undelivered Message Headers
Content-Type: text/rfc822-headers
Content-Transfer-Encoding: 8bit

Return-Path: <hello@tenure.example>
From: "Tenure" <hello@tenure.example>
To: {original}
Subject: Your first steps
Message-ID: {returned}
MIME-Version: 1.0

--4XyZ123abc.1777800609/relay.tenure.example--
"""
EXCHANGE = """From: Microsoft Outlook
\t<MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@contoso.example>
To: <hello@tenure.example>
Date: Sun, 3 May 2026 09:30:12 +0000
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="c1e6c2d0-1f3e-4a53-9d0f-2a0b1c9e7f11"
X-MS-Exchange-Message-Is-Ndr:
Content-Language: en-GB
Message-ID: <b2a4a2e7-64f2-4c0e-a5cf-5c6b0a1b2c3d@DB7PR02MB0001.eurprd02.prod.outlook.com>
In-Reply-To: {returned}
References: {returned}
Subject: Undeliverable: Your first steps
Auto-Submitted: auto-replied
MIME-Version: 1.0

--c1e6c2d0-1f3e-4a53-9d0f-2a0b1c9e7f11
Content-Type: multipart/alternative; differences=Content-Type;
\tboundary="8f7a1f5a-0c55-4d0b-8a5b-6e7f8a9b0c1d"

--8f7a1f5a-0c55-4d0b-8a5b-6e7f8a9b0c1d
Content-Type: text/plain; charset="us-ascii"
Content-Transfer-Encoding: quoted-printable

{to} wasn't found at contoso.example.

--8f7a1f5a-0c55-4d0b-8a5b-6e7f8a9b0c1d
Content-Type: text/html; charset="us-ascii"
Content-Transfer-Encoding: quoted-printable

<html><body><p>Your message couldn't be delivered.</p></body></html>

--8f7a1f5a-0c55-4d0b-8a5b-6e7f8a9b0c1d--

--c1e6c2d0-1f3e-4a53-9d0f-2a0b1c9e7f11
Content-Type: message/delivery-status

Reporting-MTA: dns;DB7PR02MB0001.eurprd02.prod.outlook.com
Received-From-MTA: dns;relay.tenure.example
Arrival-Date: Sun, 3 May 2026 09:30:10 +0000

Final-Recipient: rfc822;{to}
Action: failed
Status: 5.1.10
Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient {to} not found by SMTP address lookup
X-Display-Name: {to}


--c1e6c2d0-1f3e-4a53-9d0f-2a0b1c9e7f11
Content-Type: message/rfc822

Received: from relay.tenure.example (192.0.2.9) by
 DB7EUR02FT001.mail.protection.outlook.com with Microsoft SMTP Server;
 Sun, 3 May 2026 09:30:10 +0000
From: "Tenure" <hello@tenure.example>
To: {to}
Subject: Your first steps
Message-ID: {returned}
MIME-Version: 1.0
Content-Type: text/plain

Hello Ada

--c1e6c2d0-1f3e-4a53-9d0f-2a0b1c9e7f11--
"""
HEADLESS = """From: Mail Delivery Subsystem <mailer-daemon@mx.example>
To: hello@tenure.example
Subject: Delivery Status Notification (Failure)
In-Reply-To: {returned}
References: <older@tenure.example> {returned}
Content-Type: multipart/report; boundary="000000000000b1"; report-type=delivery-status
MIME-Version: 1.0

--000000000000b1
Content-Type: text/plain

The address was not found.

--000000000000b1
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example

Final-Recipient: rfc822; {to}
Action: failed
Status: 5.1.1

--000000000000b1--
"""
"""A report without the returned mail or its headers, which are optional (RFC 6522 §3)."""


def mail(text: str) -> bytes:
    """The text as bytes with CRLF line ends."""
    return text.replace("\n", "\r\n").encode()


def postfix(
    returned: str,
    *,
    action: str = "failed",
    status: str = "5.1.1",
    said: str = "550 5.1.1 <ada@example.com>: Recipient address rejected: User unknown",
    to: str = TO,
    original: str = TO,
) -> bytes:
    """A report of Postfix about the mail with this Message-ID. `said` is the diagnostic of the remote server."""
    subject = {"failed": "Undelivered Mail Returned to Sender", "delayed": "Delayed Mail (still being retried)"}
    title = subject.get(action, "Successful Mail Delivery Report")
    fields = {"returned": returned, "action": action, "status": status, "said": said, "to": to, "original": original}
    return mail(POSTFIX.format(subject=title, **fields))


def exchange(returned: str, to: str = TO) -> bytes:
    """A report of Exchange Online, with the whole mail."""
    return mail(EXCHANGE.format(returned=returned, to=to))


def headless(returned: str, to: str = TO) -> bytes:
    """A report that names the mail only in In-Reply-To."""
    return mail(HEADLESS.format(returned=returned, to=to))
