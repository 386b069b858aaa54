"""Liquid for templates: no attributes, no files, hard limits.

A value can never become markup. Its punctuation leaves the engine as private-use characters (`protected`), which the
markup ignores, and is restored (`unprotected`) when text or HTML is written. So a customer called `[me](http://evil)`
is shown exactly so, in a link, a list or a subject. In a URL it is escaped (`escaped_in_url`).
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, TextIO
from urllib.parse import quote

from liquid import BoundTemplate, Environment, RenderContext
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags.echo_tag import EchoTag
from liquid.builtin.tags.for_tag import ForNode, ForTag
from liquid.exceptions import LiquidError, ResourceLimitError, UndefinedError
from liquid.stringify import to_liquid_string
from liquid.token import TOKEN_EOF
from liquid.undefined import FalsyStrictUndefined, is_undefined

from activities.ports import TemplateFault

MAX_LOOP = 1_000
MAX_OUTPUT = 100_000
"""Bytes that a template may write or keep. Gmail clips longer mails anyway."""

_PRIVATE = 0xE000
_MARKS = string.punctuation + "\n\r"
_PROTECT = {ord(mark): _PRIVATE + ord(mark) for mark in _MARKS}
_PLAIN = {_PRIVATE + ord(mark): mark for mark in _MARKS}
_ENCODED = {ord(mark): _PRIVATE + 0x100 + ord(mark) for mark in "%+"}
"""What `url_encode` has written of its own, which is not escaped once more."""
_PLAIN |= {private: chr(mark) for mark, private in _ENCODED.items()}
_IN_URL = {_PRIVATE + ord(mark): quote(mark, safe="") for mark in _MARKS}
_IN_URL |= {private: chr(mark) for mark, private in _ENCODED.items()}

_TAGS_LEFT_OUT = ("cycle", "decrement", "ifchanged", "include", "increment", "render", "tablerow")
_FILTERS_LEFT_OUT = (
    *("escape", "escape_once", "newline_to_br", "strip_html"),  # escaping is done for the author
    *("base64_decode", "base64_encode", "base64_url_safe_decode", "base64_url_safe_encode"),
)


def protected(text: str) -> str:
    """A value whose punctuation markup cannot see."""
    return text.translate(_PROTECT)


def unprotected(text: str) -> str:
    """The inverse of `protected`, for text taken out of its markup."""
    return text.translate(_PLAIN)


def escaped_in_url(text: str) -> str:
    """A part of a URL whose values are percent-encoded (RFC 3986 §2.1), their reserved characters too."""
    return text.translate(_IN_URL)


class _UrlEncoded(str):
    """The result of `url_encode`, if no other filter follows."""

    __slots__ = ()


def _write(node: OutputNode, context: RenderContext, buffer: TextIO) -> int:
    value = node.expression.evaluate(context)
    if isinstance(value, _UrlEncoded):
        return buffer.write(value.translate(_PROTECT | _ENCODED))
    return buffer.write(protected(to_liquid_string(value, autoescape=False)))


class _Value(OutputNode):
    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        return _write(self, context, buffer)


class _Output(Output):
    node_class = _Value


class _Echo(EchoTag):
    node_class = _Value  # type: ignore[assignment]  # the library wants its own subclass; only rendering differs


class _Loop(ForNode):
    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        over = self.expression.iterable.evaluate(context)
        if isinstance(over, range) and len(over) > MAX_LOOP:
            # `reversed` makes a list of the range before the engine counts rounds.
            raise ResourceLimitError(f"a loop of more than {MAX_LOOP} rounds", token=None)
        return super().render_to_output(context, buffer)


class _For(ForTag):
    node_class = _Loop


class _Engine(Environment):
    block_nesting_limit = 10
    context_depth_limit = 12
    loop_iteration_limit = MAX_LOOP
    local_namespace_limit = MAX_OUTPUT
    output_stream_limit = MAX_OUTPUT


def _bounded(name: str, apply: Callable[..., Any]) -> Callable[..., Any]:
    """A filter with limits on its input and result: the engine's limits see only what is written or kept."""

    @wraps(apply)
    def bounded(value: Any, *args: Any, **kwargs: Any) -> Any:
        for operand in (value, *args) if name != "default" else ():
            if is_undefined(operand):
                str(operand)  # raises: `date` would make a missing value empty, and `plus` zero
        if any(isinstance(operand, range) and len(operand) > MAX_OUTPUT for operand in (value, *args)) or (
            name in _MULTIPLYING and _multiplied(name, value, args) > MAX_OUTPUT
        ):
            raise ResourceLimitError(f"{name} would yield more than {MAX_OUTPUT} characters", token=None)
        result = apply(value, *args, **kwargs)
        if isinstance(result, str | list) and len(result) > MAX_OUTPUT:
            raise ResourceLimitError(f"{name} yields more than {MAX_OUTPUT} characters", token=None)
        return result

    return bounded


def _marked_as_encoded(apply: Callable[..., str]) -> Callable[..., str]:
    @wraps(apply)
    def encode(*args: Any, **kwargs: Any) -> str:
        return _UrlEncoded(apply(*args, **kwargs))

    return encode


_MULTIPLYING = ("join", "replace")
"""Filters whose result can be as large as the product of their inputs."""


def _multiplied(name: str, value: Any, args: tuple[Any, ...]) -> int:
    if name == "join":
        return len(str(args[0])) * len(value) if args and isinstance(value, list | range) else 0
    return str(value).count(str(args[0])) * len(str(args[-1])) if args else 0


def _engine() -> Environment:
    engine = _Engine(undefined=FalsyStrictUndefined)
    for tag in _TAGS_LEFT_OUT:
        del engine.tags[tag]
    for left_out in _FILTERS_LEFT_OUT:
        del engine.filters[left_out]
    for name, apply in tuple(engine.filters.items()):
        engine.filters[name] = _bounded(name, apply)
    engine.filters["url_encode"] = _marked_as_encoded(engine.filters["url_encode"])
    engine.add_tag(_Output)
    engine.add_tag(_Echo)
    engine.add_tag(_For)
    return engine


_ENGINE = _engine()


@dataclass(frozen=True, slots=True)
class Read:
    """A variable that a source reads: its path, in which None is a computed segment, and the line, from 1."""

    path: tuple[str | None, ...]
    line: int


class Unknown(TemplateFault):
    """A source reads a variable that is missing. `name` is the variable, or the field as `profile.x`."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.name = message.removesuffix(" is undefined").strip("'").replace("['", ".").replace("']", "")


class LiquidProblem(ValueError):
    """A source that cannot be parsed; `line` counts from 1 within it."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message, self.line = message, line


class Liquid:
    """One source, parsed once and rendered often."""

    __slots__ = ("_source", "_template")

    def __init__(self, source: str) -> None:
        """Raises LiquidProblem for wrong syntax, and for a tag or filter that does not exist."""
        self._source = source
        self._template: BoundTemplate | None = None
        if "{{" in source or "{%" in source:
            self._template = _parsed(source)

    def render(self, scope: Mapping[str, Any]) -> str:
        """Markup with protected values. Raises Unknown for a missing variable, and TemplateFault, without any value in it."""
        if self._template is None:
            return self._source
        try:
            return self._template.render(scope)
        except UndefinedError as fault:
            raise Unknown(f"{fault.args[0]}") from None
        except ResourceLimitError as fault:
            raise TemplateFault(f"over its limits: {fault.args[0]}") from None
        except Exception as fault:  # noqa: BLE001 — a filter may raise anything, with a value in its message
            raise TemplateFault(f"cannot be rendered ({type(fault).__name__})") from None

    def reads(self) -> tuple[Read, ...]:
        """Every variable that the source reads and does not assign itself, found without rendering."""
        if self._template is None:
            return ()
        variables_by_name = self._template.analyze().globals
        return tuple(
            Read(
                tuple(part if isinstance(part, str) else None for part in variable.segments),
                _line(self._source, variable.span.index),
            )
            for variables in variables_by_name.values()
            for variable in variables
        )


def _parsed(source: str) -> BoundTemplate:
    try:
        template = _ENGINE.from_string(source)
    except LiquidError as fault:
        token = fault.token
        at_end = token is not None and token.kind == TOKEN_EOF
        index = len(source.rstrip()) if at_end else token.start_index if token is not None else 0
        raise LiquidProblem(str(fault.args[0]), _line(source, index)) from None
    for name, spans in template.analyze().filters.items():
        if name not in _ENGINE.filters:
            raise LiquidProblem(f"unknown filter '{name}'", _line(source, spans[0].index))
    return template


def _line(source: str, index: int) -> int:
    return source.count("\n", 0, max(index, 0)) + 1
