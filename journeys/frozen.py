"""`frozen`: frozen dataclasses with slots and a fast constructor, for values made often.

The constructor of `dataclasses` sets each field of a frozen class by `object.__setattr__`, which looks the field up by its
name. This one sets the slots themselves, in a third of the time: the backtest makes a dozen values for each decision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform

Value = TypeVar("Value")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[Value]) -> type[Value]:
    """Make a class a frozen dataclass with slots. It has no `__post_init__`."""
    made = dataclass(frozen=True, slots=True)(cls)
    made.__init__ = _constructor(made)  # type: ignore[method-assign]
    return made


def _constructor(cls: type[Any]) -> Callable[..., None]:
    """`__init__` with the class's fields and defaults, compiled once."""
    names: dict[str, Any] = {"MISSING": MISSING}
    parameters, keyword_only, body = list[str](), list[str](), list[str]()
    for item in fields(cls):
        names[f"set_{item.name}"] = getattr(cls, item.name).__set__
        value, default = item.name, ""
        if item.default is not MISSING:
            names[f"default_{item.name}"] = item.default
            default = f"=default_{item.name}"
        elif item.default_factory is not MISSING:
            names[f"make_{item.name}"] = item.default_factory
            default, value = "=MISSING", f"make_{item.name}() if {item.name} is MISSING else {item.name}"
        (keyword_only if item.kw_only else parameters).append(item.name + default)
        body.append(f"    set_{item.name}(self, {value})")
    signature = ", ".join(["self", *parameters, *(["*", *keyword_only] if keyword_only else [])])
    source = "\n".join([f"def __init__({signature}):", *body])
    exec(source, names)  # noqa: S102 -- as `dataclasses` itself does; the names are those of fields
    constructor: Callable[..., None] = names["__init__"]
    constructor.__qualname__ = f"{cls.__qualname__}.__init__"
    constructor.__annotations__ = {item.name: item.type for item in fields(cls)} | {"return": None}
    return constructor
