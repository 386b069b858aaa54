"""Audience APIs of Google and Meta: hashed identifiers, added and removed in batches.

Adding twice adds once, so an unclear result is tried again (class A).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from activities.channels.http.access_tokens import AccessToken, service_account
from activities.channels.http.channel import NoAccessToken, bearer, json_call, json_object
from activities.channels.http.reply_tables import KEYED_TAIL, ReplyMeaning, ReplyRow, ReplyTable, receipt_for
from activities.outgoing.client import HttpClient, HttpRequest, Unanswered
from activities.outgoing.url_policy import UrlNotAllowed
from activities.ports import AttemptResult, Receipt

BATCH = 1_000
SCOPE = "https://www.googleapis.com/auth/datamanager"


class AdPlatform(Protocol):
    """Port to an advertising platform."""

    name: str

    async def change(self, audience: str, hashes: Sequence[str], *, add: bool) -> Receipt:
        """Add or remove these hashes. Raises nothing for what the platform does."""
        ...


@dataclass(frozen=True, slots=True)
class GoogleAudiences:
    """`account` is the id of a Google Ads account; the service account may change its lists."""

    account: str
    email: str
    private_key: str
    base: str = "https://datamanager.googleapis.com"
    token_url: str = "https://oauth2.googleapis.com/token"  # noqa: S105 — a URL


class GooglePlatform:
    """Data Manager API, `audienceMembers:ingest` and `:remove`."""

    name = "google"
    table: ReplyTable = (
        ReplyRow("400", ReplyMeaning.PERMANENT, "INVALID_ARGUMENT", "an unknown audience or identifier"),
        ReplyRow("404", ReplyMeaning.OURS, "NOT_FOUND", "no such audience"),
        ReplyRow("429", ReplyMeaning.TRANSIENT, "RESOURCE_EXHAUSTED"),
        *KEYED_TAIL,
    )

    def __init__(self, http: HttpClient, settings: GoogleAudiences) -> None:
        self._http, self._settings = http, settings
        self._token = AccessToken(
            http, service_account(settings.token_url, settings.email, settings.private_key, SCOPE)
        )

    async def change(self, audience: str, hashes: Sequence[str], *, add: bool) -> Receipt:
        """Send one batch."""
        account = {"accountType": "GOOGLE_ADS", "accountId": self._settings.account}
        content = {
            "destinations": [{"operatingAccount": account, "productDestinationId": audience}],
            "audienceMembers": [{"userData": {"userIdentifiers": [{"emailAddress": digest}]}} for digest in hashes],
            "encoding": "HEX",
            **({"consent": _CONSENT, "termsOfService": _TERMS} if add else {}),
        }
        verb = "ingest" if add else "remove"
        try:
            token = await self._token.token()
        except NoAccessToken as error:
            return error.receipt
        call = json_call("POST", f"{self._settings.base}/v1/audienceMembers:{verb}", content, bearer(token))
        receipt = await _send(self._http, call, self.table)
        if receipt.detail.startswith("401"):
            self._token.invalidate()
        return receipt


_CONSENT = {"adUserData": "CONSENT_GRANTED", "adPersonalization": "CONSENT_GRANTED"}
"""Both, because retargeting is personalised advertising. A person who refused `audience` is never added."""
_TERMS = {"customerMatchTermsOfServiceStatus": "ACCEPTED"}


@dataclass(frozen=True, slots=True)
class MetaAudiences:
    """A system user's token, and the API's URL with its version."""

    token: str
    base: str = "https://graph.facebook.com/v26.0"


class MetaPlatform:
    """Marketing API, `POST` and `DELETE /{audience}/users`."""

    name = "meta"
    table: ReplyTable = (
        ReplyRow("4xx", ReplyMeaning.OURS, "190", "the token is not accepted"),
        ReplyRow("4xx", ReplyMeaning.OURS, "102", "the token's session is over"),
        ReplyRow("4xx", ReplyMeaning.OURS, "10", "the app may not do this"),
        ReplyRow("4xx", ReplyMeaning.OURS, "200", "no access to this audience, or its terms are not accepted"),
        ReplyRow("4xx", ReplyMeaning.TRANSIENT, "4", "too many calls of the app"),
        ReplyRow("4xx", ReplyMeaning.TRANSIENT, "17", "too many calls of the user"),
        ReplyRow("4xx", ReplyMeaning.TRANSIENT, "613", "too many calls for this ad account"),
        ReplyRow("4xx", ReplyMeaning.TRANSIENT, "80003", "too many calls for its audiences"),
        ReplyRow("4xx", ReplyMeaning.DOWN, "1", "unknown error at Meta"),
        ReplyRow("4xx", ReplyMeaning.DOWN, "2", "temporarily unavailable"),
        ReplyRow("400", ReplyMeaning.PERMANENT, "100", "an invalid parameter, or an audience that is not ours"),
        *KEYED_TAIL,
    )

    def __init__(self, http: HttpClient, settings: MetaAudiences) -> None:
        self._http, self._settings = http, settings

    async def change(self, audience: str, hashes: Sequence[str], *, add: bool) -> Receipt:
        """Send one batch."""
        content = {"payload": {"schema": "EMAIL_SHA256", "data": list(hashes)}}
        url = f"{self._settings.base}/{audience}/users"
        return await _send(
            self._http, json_call("POST" if add else "DELETE", url, content, bearer(self._settings.token)), self.table
        )


async def _send(http: HttpClient, call: HttpRequest, table: ReplyTable) -> Receipt:
    try:
        reply = await http.send(call)
    except UrlNotAllowed as error:
        return Receipt(AttemptResult.TRY_AGAIN, str(error)[:200], outage=True, left=False)
    except Unanswered as error:
        result = AttemptResult.UNKNOWN if error.left else AttemptResult.TRY_AGAIN
        return Receipt(result, str(error), outage=True, left=error.left)
    value = json_object(reply).get("error")
    fault: Mapping[str, object] = value if isinstance(value, dict) else {}
    code = fault.get("status", fault.get("code", ""))
    return receipt_for(table, reply, str(code), str(fault.get("message", "")))
