"""What the checker knows of a template: its header, not its words. The words are Liquid and are rendered elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from journeys.definition import ChannelName, Model, Name, Scalar, Text
from journeys.problems import Problem, problem
from journeys.reading import read_model

Status = Literal["draft", "live", "retired"]
ValueType = Literal["string", "int", "double", "bool", "timestamp", "strings"]


@dataclass(frozen=True, slots=True)
class TemplateInfo:
    """A template as journeys see it.

    `variables` are the names that a send gives under `data`; those in `required` have no default. `fields` are what
    its words read of people and accounts (`profile.first_name`), found by static analysis of the Liquid.
    """

    name: str
    variables: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()
    fields: frozenset[str] = frozenset()
    topic: str | None = None
    channels: tuple[str, ...] = ("email",)
    stage: str | None = None
    role: str | None = None
    owner: str = ""
    status: Status = "live"
    review_date: date | None = None


class ActionLink(Model):
    """The single action that a message asks for (C9). `url` is Liquid."""

    label: Text
    url: Annotated[str, StringConstraints(min_length=1, max_length=1000)]


class Variable(Model):
    """A value that the send gives under `data`; without a default it must."""

    type: ValueType = "string"
    default: Scalar | None = None
    description: Text | None = None


def _typed(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


class TemplateHeader(Model):
    """The front matter of `catalog/templates/<name>.liquid`; `subject` is Liquid, and is the title in the inbox."""

    owner: Name
    topic: Name | None = None
    stage: Name | None = None
    role: Name | None = None
    action: ActionLink | None = None
    review_date: Annotated[date, Field(strict=False)]
    status: Status = "draft"
    channels: Annotated[
        tuple[ChannelName, ...],
        BeforeValidator(lambda value: value if isinstance(value, list | tuple) else [value]),
        Field(min_length=1),
    ] = ("email",)
    subject: Text
    variables: dict[Name, Annotated[Variable, BeforeValidator(_typed, json_schema_input_type=str | Variable)]] = {}


def split_template(text: str) -> tuple[str, str] | None:
    """The front matter and the body of `---\\nheader\\n---\\nbody`; None if it does not begin so."""
    lines = text.replace("\r\n", "\n").split("\n")
    if lines[0].strip() != "---" or "---" not in (line.strip() for line in lines[1:]):
        return None
    end = next(index for index, line in enumerate(lines[1:], 1) if line.strip() == "---")
    return "\n".join(["", *lines[1:end]]), "\n".join(lines[end + 1 :]).strip("\n")


def read_template(text: str) -> tuple[TemplateHeader, str] | list[Problem]:
    """The header and the Liquid body of a template's text; or every fault of its header, at its line."""
    parts = split_template(text)
    if parts is None:
        return [problem("T102", (), "a template begins with front matter between two lines of ---", at=(1, 1))]
    header, source = read_model(parts[0], TemplateHeader)
    return source.problems if header is None else (header, parts[1])


def template_info(name: str, header: TemplateHeader, fields: frozenset[str] = frozenset()) -> TemplateInfo:
    """What the checker needs of a header; `fields` come from whoever parsed the Liquid."""
    return TemplateInfo(
        name=name,
        variables=frozenset(header.variables),
        required=frozenset(key for key, item in header.variables.items() if item.default is None),
        fields=fields,
        topic=header.topic,
        channels=header.channels,
        stage=header.stage,
        role=header.role,
        owner=header.owner,
        status=header.status,
        review_date=header.review_date,
    )


Templates = Mapping[str, TemplateInfo]
