"""Feedback reports (ARF, RFC 5965) as mailbox providers write them, each with the kind that is read from it."""

from __future__ import annotations

from dataclasses import dataclass

TO = "ada@example.com"
OURS = "<9f86d081884c7d659a2feaa0c55ad015@tenure.example>"


@dataclass(frozen=True)
class Complaint:
    label: str
    text: str
    kind: str

    @property
    def mail(self) -> bytes:
        """The mail as it arrives, with CRLF."""
        return self.text.replace("\n", "\r\n").encode()


def arf(
    label: str,
    kind: str,
    fields: str,
    *,
    sender: str = "complaints@isp.example",
    report: str = "multipart/report; report-type=feedback-report",
    part: str = "message/feedback-report",
    copy: str = "message/rfc822",
    transfer: str = "",
    returned: str = f"From: Tenure <hello@tenure.example>\nTo: {TO}\nSubject: Offer\nMessage-ID: {OURS}\n\nHello\n",
) -> Complaint:
    text = (
        f"From: {sender}\nTo: abuse@tenure.example\nSubject: FW: Offer\nMIME-Version: 1.0\nContent-Type: {report}; boundary=b\n\n"
        f"--b\nContent-Type: text/plain; charset=us-ascii\n\nThis is an email abuse report.\n\n"
        f"--b\nContent-Type: {part}\n{transfer}\n{fields}\n\n--b\nContent-Type: {copy}\n\n{returned}\n--b--\n"
    )
    return Complaint(label, text, kind)


VERSION = "User-Agent: SomeGenerator/1.0\nVersion: 1\n"
CORPUS = (
    arf("abuse", "abuse", f"Feedback-Type: abuse\n{VERSION}"),
    arf("abuse-with-recipient", "abuse", f"Feedback-Type: abuse\n{VERSION}Original-Mail-From: <hello@tenure.example>\nOriginal-Rcpt-To: <{TO}>\nReceived-Date: Mon, 4 May 2026 09:30:00 +0000\nSource-IP: 192.0.2.9"),
    arf("abuse-redacted", "abuse", f"Feedback-Type: abuse\n{VERSION}Original-Rcpt-To: redacted@isp.example"),
    arf("kind-last", "abuse", f"{VERSION}Feedback-Type: abuse"),
    arf("kind-in-capitals", "abuse", f"FEEDBACK-TYPE: ABUSE\n{VERSION}"),
    arf("kind-with-comment", "abuse", f"Feedback-Type: abuse (spam button)\n{VERSION}"),
    arf("kind-without-space", "abuse", f"Feedback-Type:abuse\n{VERSION}"),
    arf("kind-missing", "abuse", VERSION),
    arf("yahoo", "abuse", "Feedback-Type: abuse\nUser-Agent: Yahoo!-Mail-Feedback/2.0\nVersion: 0.1\nReported-Domain: tenure.example", sender="Yahoo! Mail AntiSpam Feedback <feedback@arf.mail.yahoo.example>"),
    arf("aol", "abuse", "Feedback-Type: abuse\nUser-Agent: AOL SComp\nVersion: 0.1\nRemoval-Recipient: redacted-address", sender="scomp@aol.example"),
    arf("comcast-headers-only", "abuse", f"Feedback-Type: abuse\n{VERSION}", copy="text/rfc822-headers"),
    arf("part-in-mixed", "abuse", f"Feedback-Type: abuse\n{VERSION}", report="multipart/mixed"),
    arf("report-type-missing", "abuse", f"Feedback-Type: abuse\n{VERSION}", report="multipart/report"),
    arf("folded-id", "abuse", f"Feedback-Type: abuse\n{VERSION}", returned=f"From: x@tenure.example\nMessage-ID:\n {OURS}\n\nHello\n"),
    arf("lower-case-id", "abuse", f"Feedback-Type: abuse\n{VERSION}", returned=f"From: x@tenure.example\nmessage-id: {OURS}\n\nHello\n"),
    arf("broken-body", "abuse", f"Feedback-Type: abuse\n{VERSION}", returned=f"Message-ID: {OURS}\nContent-Type: multipart/alternative; boundary=zz\n\n--zz\nContent-Type: text/plain; charset=nope\n\nHello\n"),
    arf("not-spam", "not-spam", f"Feedback-Type: not-spam\n{VERSION}"),
    arf("auth-failure", "auth-failure", f"Feedback-Type: auth-failure\n{VERSION}Auth-Failure: dmarc\nIdentity-Alignment: none"),
    arf("fraud", "fraud", f"Feedback-Type: fraud\n{VERSION}"),
    arf("virus", "virus", f"Feedback-Type: virus\n{VERSION}"),
    arf("other", "other", f"Feedback-Type: other\n{VERSION}"),
    arf("kind-of-the-future", "opt-out-list", f"Feedback-Type: opt-out-list\n{VERSION}"),
)  # fmt: skip
