"""`frozen`: dataclasses that the type checker holds to be frozen, with a fast constructor.

For values that are made for every decision. The constructor of a dataclass that is frozen at run time sets each field by
`object.__setattr__`, which takes four times as long; the backtest would spend a tenth of its time there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

Value = TypeVar("Value")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[Value]) -> type[Value]:
    """Make a class a dataclass with slots, equality and a hash; mypy refuses to set its fields."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
