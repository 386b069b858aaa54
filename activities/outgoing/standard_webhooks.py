"""Standard Webhooks 1.0.0: signatures and the retry schedule."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

STEPS = tuple(
    timedelta(**step)
    for step in (
        {"seconds": 5}, {"minutes": 5}, {"minutes": 30}, {"hours": 2}, {"hours": 5},
        {"hours": 10}, {"hours": 14}, {"hours": 20}, {"hours": 24},
    )
)  # fmt: skip

WebhookSigner = Callable[[str, bytes], dict[str, str]]
"""Headers that sign a body under an id, by which the receiver recognises a repetition."""


def signing(*secrets: str) -> WebhookSigner:
    """A signer with each of these secrets (`whsec_…`, base64), so that a receiver can rotate them. Raises ValueError."""
    from standardwebhooks.webhooks import Webhook  # noqa: PLC0415 — start-up time: only signing needs it

    signers = [Webhook(secret) for secret in secrets]

    def sign(identity: str, body: bytes) -> dict[str, str]:
        now = datetime.now(UTC)
        return {
            "webhook-id": identity,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signer.sign(identity, now, body.decode()) for signer in signers),
        }

    return sign
