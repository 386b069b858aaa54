"""HTTP client of the API for commands, with errors that a person can read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Self
from urllib.parse import quote

import httpx
import typer

from cli.terminal import harmless
from journeys.language.problems import Problem
from worker.settings import SettingsError, load_settings
from worker.stack.endpoints import read_endpoints

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url", envvar="TENURE_API_URL", help="Address of the API; by default that of `make up` on this machine."
    ),
]
KeyOption = Annotated[str | None, typer.Option("--key", help="An operator's key [TENURE_OPERATOR_KEY].")]
TIMEOUT = 30.0


class ApiError(RuntimeError):
    """A request failed. The message has the reason, in the API's words if it answered."""


class RefusedByApi(ApiError):
    """The API rejected the request. `problems` are those of the text that was sent, with lines."""

    def __init__(self, status: int, detail: str, problems: list[Problem]) -> None:
        super().__init__(detail)
        self.status = status
        self.problems = problems
        self.files: list[str] = []
        """The file of each problem, where several were sent."""


class ApiClient:
    """A running API. Raises ApiError when it does not answer, RefusedByApi when it rejects a request."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, auth=(key, ""), timeout=TIMEOUT, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, **query: str | int) -> Any:
        return self._answer("GET", path, params=query)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._answer("POST", path, json=dict(body))

    def items(self, path: str, most: int | None = None, **query: str) -> Iterator[dict[str, Any]]:
        """Items of all pages, at most `most`."""
        cursor, count = None, 0
        while most is None or count < most:
            limit = 100 if most is None else min(100, most - count)
            page = self.get(path, limit=limit, **query, **({"cursor": cursor} if cursor else {}))
            yield from page["items"]
            count, cursor = count + len(page["items"]), page["next"]
            if cursor is None:
                return

    def publish(self, key: str, text: bytes, by: str, *, only_new: bool = False) -> dict[str, Any]:
        """Publish a definition. With `only_new` a key that is published already is rejected with 412."""
        headers = {"Content-Type": "application/yaml"} | ({"If-None-Match": "*"} if only_new else {})
        path = f"/v1/journeys/{quote(key, safe='')}"
        published: dict[str, Any] = self._answer("PUT", path, content=text, headers=headers, params={"by": by})
        return published

    def publish_catalogue(self, files: Mapping[str, bytes], by: str, retire: Sequence[str] = ()) -> dict[str, Any]:
        """Publish all files of a catalogue as one version; live journeys that they lack must be named under `retire`."""
        body = {"files": {path: content.decode() for path, content in files.items()}, "retire": list(retire)}
        published: dict[str, Any] = self._answer("PUT", "/v1/catalogue", json=body, params={"by": by})
        return published

    def preview(self, template: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """A template as a known person would get it."""
        path = f"/v1/templates/{quote(template, safe='')}/preview"
        preview: dict[str, Any] = self._answer("POST", path, json=request)
        return preview

    def _answer(self, method: str, path: str, **request: Any) -> Any:
        try:
            answer = self._client.request(method, path, **request)
            # Anybody may have chosen a name or an id, and terminals obey some characters.
            body = harmless(answer.json())
        except (httpx.TransportError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            raise ApiError(f"{self.url} does not answer: {reason}. Start it with `make up`, or give --url.") from None
        except ValueError:
            raise ApiError(
                f"{self.url}{path} answered {answer.status_code} without JSON: it is not Tenure's API."
            ) from None
        if answer.is_success:
            return body
        raise _refused(answer.status_code, body if isinstance(body, dict) else {})


def remote(url: str | None, key: str | None) -> ApiClient:
    """The API at `url`, by default that of the stack on this machine. Raises ApiError when a setting is wrong."""
    try:
        settings = load_settings()
    except SettingsError as error:
        raise ApiError(str(error)) from None
    running = read_endpoints(settings.home)
    local = running.api_url if running is not None else f"http://{settings.api_host}:{settings.api_port}"
    return ApiClient(url or local, key or settings.operator_key.get_secret_value())


def _refused(status: int, document: Mapping[str, Any]) -> RefusedByApi:
    errors = [error for error in document.get("errors", ()) if isinstance(error, dict)]
    problems = [_problem(error) for error in errors]
    detail = f"{document.get('title', 'Refused')} ({status}): {document.get('detail', 'no reason given')}"
    refusal = RefusedByApi(status, detail, problems)
    refusal.files = [str(error.get("file") or "") for error in errors]
    return refusal


def _problem(error: Mapping[str, Any]) -> Problem:
    place, harm, mend = (str(error.get(name) or "") for name in ("pointer", "harm", "mend"))
    code, what = str(error.get("code") or "-"), str(error.get("detail", ""))
    return Problem(code, place, what, harm, mend, error.get("line"), error.get("column"))
