"""Audience APIs of Google and Meta: hashed identifiers, added and removed in batches.

Class A by nature: putting in twice puts in once, so whatever is unclear is said again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from activities.channels.http.access_tokens import AccessToken, service_account
from activities.channels.http.channel import NoAccessToken, bearer, json_call, said
from activities.channels.http.reply_tables import KEYED_TAIL, ReplyMeaning, ReplyRow, ReplyTable, receipt
from activities.outgoing.client import HttpClient, HttpRequest, Unanswered
from activities.outgoing.url_policy import UrlNotAllowed
from activities.ports import AttemptResult, Receipt

BATCH = 1_000
SCOPE = "https://www.googleapis.com/auth/datamanager"


class AdPlatform(Protocol):
    """What the sync asks of a tool."""

    name: str

    async def change(self, audience: str, hashes: Sequence[str], *, add: bool) -> Receipt:
        """Put these in, or take them out. Never raises for anything a tool does."""
        ...


@dataclass(frozen=True, slots=True)
class GoogleAudiences:
    """`account` is the operating account's id at Google Ads; a service account may change its lists."""

    account: str
    email: str
    private_key: str
    base: str = "https://datamanager.googleapis.com"
    token_url: str = "https://oauth2.googleapis.com/token"  # noqa: S105 -- an address


class GooglePlatform:
    """Data Manager API, `audienceMembers:ingest` and `:remove`."""

    name = "google"
    table: ReplyTable = (
        ReplyRow(
            "400", ReplyMeaning.PERMANENT, "INVALID_ARGUMENT", "an audience or an identifier that it does not know"
        ),
        ReplyRow("404", ReplyMeaning.OURS, "NOT_FOUND", "no such audience"),
        ReplyRow("429", ReplyMeaning.TRANSIENT, "RESOURCE_EXHAUSTED"),
        *KEYED_TAIL,
    )

    def __init__(self, way: HttpClient, settings: GoogleAudiences) -> None:
        self._way, self._settings = way, settings
        self._pass = AccessToken(way, service_account(settings.token_url, settings.email, settings.private_key, SCOPE))

    async def change(self, audience: str, hashes: Sequence[str], *, add: bool) -> Receipt:
        """One batch."""
        account = {"accountType": "GOOGLE_ADS", "accountId": self._settings.account}
        content = {
            "destinations": [{"operatingAccount": account, "productDestinationId": audience}],
            "audienceMembers": [{"userData": {"userIdentifiers": [{"emailAddress": each}]}} for each in hashes],
            "encoding": "HEX",
            **({"consent": _CONSENT, "termsOfService": _TERMS} if add else {}),
        }
        verb = "ingest" if add else "remove"
        try:
            token = await self._pass.token()
        except NoAccessToken as fault:
            return fault.receipt
        call = json_call("POST", f"{self._settings.base}/v1/audienceMembers:{verb}", content, bearer(token))
        found = await _asked(self._way, call, self.table)
        if found.detail.startswith("401"):
            self._pass.spoiled()
        return found


_CONSENT = {"adUserData": "CONSENT_GRANTED", "adPersonalization": "CONSENT_GRANTED"}
"""Both, since an ad that follows what a person did is a personalised one. Who said no to `audience` is never put in."""
_TERMS = {"customerMatchTermsOfServiceStatus": "ACCEPTED"}


@dataclass(frozen=True, slots=True)
class MetaAudiences:
    """A system user's token, and the API's version in the address."""

    token: str
    base: str = "https://graph.facebook.com/v26.0"


class MetaPlatform:
    """Marketing API, `POST` and `DELETE /{audience}/users`."""

    name = "meta"
    table: ReplyTable = (
        ReplyRow("4xx", ReplyMeaning.OURS, "190", "the token is not accepted"),
        ReplyRow("4xx", ReplyMeaning.OURS, "102", "the token's session is over"),
        ReplyRow("4xx", ReplyMeaning.OURS, "10", "the app may not do this"),
        ReplyRow("4xx", ReplyMeaning.OURS, "200", "no right to this audience, or its terms are not accepted"),
        ReplyRow("4xx", ReplyMeaning.TRANSIENT, "4", "too many calls of the app"),
        ReplyRow("4xx", ReplyMeaning.TRANSIENT, "17", "too many calls of the user"),
        ReplyRow("4xx", ReplyMeaning.TRANSIENT, "613", "too many calls for this ad account"),
        ReplyRow("4xx", ReplyMeaning.TRANSIENT, "80003", "too many calls for its audiences"),
        ReplyRow("4xx", ReplyMeaning.DOWN, "1", "unknown fault of theirs"),
        ReplyRow("4xx", ReplyMeaning.DOWN, "2", "temporarily unavailable"),
        ReplyRow(
            "400", ReplyMeaning.PERMANENT, "100", "a parameter that it does not take, or an audience that is not ours"
        ),
        *KEYED_TAIL,
    )

    def __init__(self, way: HttpClient, settings: MetaAudiences) -> None:
        self._way, self._settings = way, settings

    async def change(self, audience: str, hashes: Sequence[str], *, add: bool) -> Receipt:
        """One batch."""
        content = {"payload": {"schema": "EMAIL_SHA256", "data": list(hashes)}}
        url = f"{self._settings.base}/{audience}/users"
        return await _asked(
            self._way, json_call("POST" if add else "DELETE", url, content, bearer(self._settings.token)), self.table
        )


async def _asked(way: HttpClient, call: HttpRequest, table: ReplyTable) -> Receipt:
    try:
        reply = await way.send(call)
    except UrlNotAllowed as fault:
        return Receipt(AttemptResult.TRY_AGAIN, str(fault)[:200], outage=True, left=False)
    except Unanswered as fault:
        return Receipt(
            AttemptResult.UNKNOWN if fault.left else AttemptResult.TRY_AGAIN, str(fault), outage=True, left=fault.left
        )
    error = said(reply).get("error")
    known: Mapping[str, object] = error if isinstance(error, dict) else {}
    code = known.get("status", known.get("code", ""))
    return receipt(table, reply, str(code), str(known.get("message", "")))
