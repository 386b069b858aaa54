"""Suppressions of addresses that a mail provider has put on its own list."""

from __future__ import annotations

import structlog

from api.events.intake import Intake
from api.inbound.vendors import ProviderSuppression
from store.consent import suppressions
from store.database import Connection
from store.process_clock import current_instant
from store.retry import retry_transaction

log = structlog.get_logger()


async def suppress_listed(intake: Intake, provider: str, suppression: ProviderSuppression) -> bool:
    """Suppress the address for mails, whoever has it; False if it was suppressed already."""
    addresses, source = intake.catalogue.consent.addresses, f"hook:{provider}:suppression_added"

    async def work(connection: Connection) -> bool:
        return await suppressions.suppress(
            connection,
            addresses,
            "email",
            suppression.address,
            reason=suppression.reason,
            source=source,
            at=current_instant(),
        )

    is_new = await retry_transaction(intake.database, work)
    log.info("hook.suppressed", provider=provider, reason=suppression.reason, new=is_new)
    return is_new
