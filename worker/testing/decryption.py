"""Decryption of histories: every payload of every event, as recorded histories contain them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.history.v1 import History
from temporalio.client import WorkflowHandle, WorkflowHistory
from temporalio.converter import PayloadCodec


async def fetch_decrypted(handle: WorkflowHandle[Any, Any], codec: PayloadCodec | None) -> WorkflowHistory:
    """The history of a workflow with clear payloads. Raises RPCError and PayloadNotDecrypted."""
    history = await handle.fetch_history()
    return await decrypted(history, codec) if codec is not None else history


async def decrypted(history: WorkflowHistory, codec: PayloadCodec) -> WorkflowHistory:
    """A copy with clear payloads; a history that has clear ones stays equal. Raises PayloadNotDecrypted."""
    copy = History(events=history.events)
    for payload in list(_payloads(copy)):
        (clear,) = await codec.decode([payload])
        payload.CopyFrom(clear)
    return WorkflowHistory(history.workflow_id, list(copy.events))


def _payloads(message: Message) -> Iterator[Payload]:
    """Every payload below a message, at any depth."""
    if isinstance(message, Payload):
        yield message
        return
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        values = value.values() if isinstance(value, Mapping) else value if descriptor.is_repeated else (value,)
        for part in values:
            if isinstance(part, Message):
                yield from _payloads(part)
