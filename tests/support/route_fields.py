"""Cache of the validators of the routes' parameters and bodies for one test process.

FastAPI builds 350 of them for each application: half of the CPU that an application of a test costs. They are pure and do not
depend on the application's parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi._compat import v2
from pydantic import TypeAdapter

_built: dict[str, TypeAdapter[Any]] = {}


@contextmanager
def fields_built_once() -> Iterator[None]:
    """Build the validator of each annotation once, for as long as the body runs. The key is the annotation's text."""

    def remembered(annotation: Any, *, config: Any = None) -> TypeAdapter[Any]:
        key = f"{annotation!r} {config!r}"
        if key not in _built:
            _built[key] = TypeAdapter(annotation, config=config)
        return _built[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(v2, "TypeAdapter", remembered)
        yield
