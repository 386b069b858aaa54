"""A stranger with a public key: `python -m tests.support.attacker URL KEY REQUESTS CONNECTIONS`.

The script tries to redirect, opt in and bomb the victim, to join the account, to forge answers and tickets, and to trip the
brake by many new visitors; its answers are counted by status and printed as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

VICTIM, VICTIM_MAIL, VICTIM_DEVICE, ACCOUNT = "victim", "victim@example.com", "victims-device", "victims"
Call = tuple[str, str, Any, dict[str, str]]
"""Method, path, body and headers of a request."""


class Attacker:
    """Makes the requests, from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._tries: list[Callable[[], Call]] = [
            self.redirect, self.opt_in, self.bomb, self.join, self.trip, self.forge, self.operate, self.batch, self.adopt,
        ]  # fmt: skip

    def next(self) -> Call:
        """The next request."""
        return self._random.choice(self._tries)()

    def redirect(self) -> Call:
        """Change the address that the victim's mails go to."""
        traits = {"email": self._pick("thief@evil.example", VICTIM_MAIL), "phone": "+436641234567"}
        return self._post("identify", {**self._as_victim(), "traits": traits})

    def opt_in(self) -> Call:
        """Grant, lift or confirm for the victim."""
        if self._random.random() < 0.5:
            place = self._pick({"email": {"offers": True}}, {"*": {"*": True}}, {"email": {"onboarding": None}})
            return self._post("identify", {**self._as_victim(), "traits": {"consents": place, "unsubscribed": False}})
        data = {"channel": "email", "topic": "offers", "granted": True, "request": "1", "link": "https://evil.example"}
        name = self._pick("Consent Changed", "consent_requested", "consent_confirmed")
        return self._post("track", {**self._as_victim(), "event": name, "properties": data})

    def bomb(self) -> Call:
        """Have mails sent to the victim's address on behalf of many visitors."""
        traits = {"email": self._pick(VICTIM_MAIL, VICTIM_MAIL.upper(), f" {VICTIM_MAIL}")}
        asked = {**traits, "consents": {"email": {self._pick("offers", "*"): True}}}
        return self._post("identify", {**self._visitor(), "traits": asked})

    def join(self) -> Call:
        """Become the champion of the victim's account, and overwrite its fields."""
        calls: list[Call] = [
            self._post(
                "group", {**self._visitor(), "groupId": ACCOUNT, "traits": {"plan": "free", "renewal_date": None}}
            ),
            self._post(
                "identify", {**self._as_victim(), "traits": {"role": "champion"}, "context": {"groupId": ACCOUNT}}
            ),
            self._post("track", {**self._visitor(), "event": "Pricing Page Viewed", "context": {"groupId": ACCOUNT}}),
            self._post("alias", {"previousId": VICTIM_DEVICE, "userId": f"thief-{self._number()}"}),
        ]
        return self._random.choice(calls)

    def trip(self) -> Call:
        """Make a journey send so much that the surge brake stops it for everybody."""
        name = self._pick("Pricing Page Viewed", "Signed Up", "Order Completed", "Feature Used")
        traits = {"order_id": "1", "total": 1.0, "quantity": 1, "feature": "x"}
        return self._post("track", {**self._visitor(), "event": name, "properties": traits})

    def forge(self) -> Call:
        """Answer, bounce and complain in the victim's name; open an urgent ticket."""
        data = {"message": str(self._random.randint(1, 99)), "channel": "email", "text": "STOP", "address": VICTIM_MAIL,
                "kind": "hard", "ticket_id": "1", "priority": "urgent", "action": "a", "template": "t", "journey": "j"}  # fmt: skip
        name = self._pick("message_replied", "message_bounced", "message_complained", "ticket_opened", "message_seen",
                          "survey_answered", "conversation_closed", "account_left")  # fmt: skip
        return self._post("track", {**self._as_victim(), "event": name, "properties": data})

    def operate(self) -> Call:
        """Use routes of the company's servers and operators, a test clock, or a guessed message."""
        number = self._random.randint(1, 50)
        calls: list[Call] = [
            ("GET", f"/v1/users/{VICTIM}", None, {}),
            (
                "PUT",
                f"/v1/users/{VICTIM}/consents",
                {"channel": "email", "topic": "*", "granted": True, "source": "x"},
                {},
            ),
            ("POST", f"/v1/users/{VICTIM}/signals", {"name": "signed_up"}, {}),
            ("POST", "/v1/suppressions", {"channel": "email", "address": VICTIM_MAIL}, {}),
            ("POST", "/v1/stops", {"scope": "all", "why": "x"}, {}),
            ("POST", "/v1/keys", {"name": f"mine-{number}", "kind": "secret"}, {}),
            ("POST", f"/v1/front/inbox/{number}/acted", None, {}),
            ("POST", "/v1/page", self._visitor(), {"X-Tenure-Clock": "any"}),
        ]
        return self._random.choice(calls)

    def batch(self) -> Call:
        """All of it at once, behind a harmless call."""
        calls = [self.redirect(), self.opt_in(), self.bomb(), self.join(), self.forge(), self.trip()]
        body = [{"type": "page", **self._visitor()}] + [{"type": path[4:], **sent} for _, path, sent, _ in calls]
        return self._post("batch", {"batch": body})

    def adopt(self) -> Call:
        """Have the victim's visitor merged into an own one, or the other way round."""
        return self._post("identify", {"anonymousId": VICTIM_DEVICE, "userId": f"thief-{self._number()}", "traits": {}})

    def _as_victim(self) -> dict[str, Any]:
        """The victim by every name that a stranger may know, with and without a made-up hash."""
        names = self._pick(
            {"userId": VICTIM}, {"anonymousId": VICTIM_DEVICE}, {"userId": VICTIM, "anonymousId": f"v-{self._number()}"}
        )
        return {**names, **self._pick({}, {"userHash": f"{self._number():064x}"}, {"context": {"userHash": "0" * 64}})}

    def _visitor(self) -> dict[str, Any]:
        return {"anonymousId": f"v-{self._number()}"}

    def _number(self) -> int:
        return self._random.getrandbits(64)

    def _pick(self, *choices: Any) -> Any:
        return self._random.choice(choices)

    def _post(self, kind: str, body: dict[str, Any]) -> Call:
        forwarded = (
            {"X-Forwarded-For": f"203.0.113.{self._random.randint(1, 254)}"} if self._random.random() < 0.3 else {}
        )
        return "POST", f"/v1/{kind}", body, forwarded


async def attack(url: str, key: str, requests: int, connections: int) -> dict[str, Any]:
    """Send the requests over so many connections; the number of answers by status, and the seconds it took."""
    attacker, statuses, address = Attacker(1), Counter[int](), urlsplit(url)
    head = f"Host: {address.netloc}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    prepared = iter(
        [_as_bytes(attacker.next(), head) for _ in range(requests)]
    )  # so that sending costs this machine little

    async def worker() -> None:
        connection = await asyncio.open_connection(address.hostname, address.port)
        for request in prepared:
            try:
                status = await _exchange(*connection, request)
            except (asyncio.IncompleteReadError, ConnectionError):  # idle for too long while this process was stopped
                connection = await asyncio.open_connection(address.hostname, address.port)
                status = await _exchange(*connection, request)
            statuses[status] += 1
        connection[1].close()

    began = time.monotonic()
    await asyncio.gather(*(worker() for _ in range(connections)))
    seconds = time.monotonic() - began
    return {"statuses": {str(status): count for status, count in sorted(statuses.items())}, "seconds": seconds}


def _as_bytes(call: Call, head: str) -> bytes:
    method, path, body, headers = call
    content = json.dumps(body).encode() if body is not None else b""
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {path} HTTP/1.1\r\n{head}{extra}Content-Length: {len(content)}\r\n\r\n".encode() + content


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    """Send a request; the status of its answer."""
    writer.write(request)
    answer = await reader.readuntil(b"\r\n\r\n")
    length = answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    await reader.readexactly(int(length))
    return int(answer.split(b" ", 2)[1])


if __name__ == "__main__":
    os.nice(19)  # it stands for another machine: it must not take the CPU of the API
    given_url, secret, number, parallel = sys.argv[1:]
    print(json.dumps(asyncio.run(attack(given_url, secret, int(number), int(parallel)))))
