"""DKIM signatures (RFC 6376) for mails over SMTP.

A mail is signed at each attempt, so that a key may be rotated in between. The one-click headers are covered (RFC 8058 §4).
"""

from __future__ import annotations

from dataclasses import dataclass

import dkim

HEADERS = (
    b"from", b"to", b"subject", b"date", b"message-id", b"mime-version", b"content-type",
    b"list-unsubscribe", b"list-unsubscribe-post",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DkimKey:
    """The public key is at `selector`._domainkey.`domain`; `private_key` is PEM, RSA of at least 1,024 bits."""

    domain: str
    selector: str
    private_key: str

    def __post_init__(self) -> None:
        """Raises ValueError for a key that cannot sign."""
        try:
            self.signed(b"From: a@b.example\r\nTo: c@d.example\r\n\r\n.\r\n")
        except (dkim.DKIMException, ValueError, TypeError) as error:
            raise ValueError(
                f"DKIM needs an RSA key in PEM, a selector and a domain ({type(error).__name__})"
            ) from None

    def signed(self, mail: bytes) -> bytes:
        """The mail with its signature prepended."""
        present = {line.partition(b":")[0].strip().lower() for line in mail.partition(b"\r\n\r\n")[0].split(b"\r\n")}
        signature: bytes = dkim.sign(
            mail,
            self.selector.encode(),
            self.domain.encode(),
            self.private_key.encode(),
            canonicalize=(b"relaxed", b"relaxed"),
            include_headers=[name for name in HEADERS if name in present],
        )
        return signature + mail
