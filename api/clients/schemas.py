"""Schemas of the routes for analytics libraries: preflight, settings, metrics."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

SEGMENT_DESTINATION: Final = "Segment.io"
"""The libraries' name of the destination that everything is sent to."""
_PLANNED: Final = ("track", "identify", "group")


class ClientPreflight(BaseModel):
    """Response to a CORS preflight; the permissions are in the headers."""

    allowed: bool


class MetricsResult(BaseModel):
    """A library's metrics of itself are not kept."""

    success: bool = True


class LibrarySettings(BaseModel):
    """Settings of a public key, as Segment's CDN serves them to its libraries (its open source code defines the members)."""

    model_config = ConfigDict(populate_by_name=True)

    integrations: dict[str, dict[str, Any]]
    plan: dict[str, Any] = Field(default_factory=lambda: {call: {"__default": {"enabled": True}} for call in _PLANNED})
    edge_function: dict[str, Any] = Field(default_factory=dict, alias="edgeFunction")
    analytics_next: bool = Field(True, alias="analyticsNextEnabled")
    middleware: dict[str, Any] = Field(default_factory=dict, alias="middlewareSettings")
    enabled_middleware: dict[str, Any] = Field(default_factory=dict, alias="enabledMiddleware")
    metrics: dict[str, Any]
    legacy_video: bool = Field(False, alias="legacyVideoPluginsEnabled")
    remote_plugins: list[Any] = Field(default_factory=list, alias="remotePlugins")

    @classmethod
    def of(cls, key: str, scheme: str, host: str) -> LibrarySettings:
        """The settings that send everything of a key to the API at this host, and no metrics of the library."""
        destination = {"apiKey": key, "apiHost": host, "protocol": scheme}
        return cls(integrations={SEGMENT_DESTINATION: destination}, metrics={"sampleRate": 0, "host": host})
