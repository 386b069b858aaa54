"""Changes of SQL functions by migrations."""

from __future__ import annotations

from alembic import op


def replace_in_function(name: str, *changes: tuple[str, str]) -> None:
    """Replace parts of a function as it is, each an old and a new text: other migrations may have changed other parts.

    PostgreSQL raises an exception if an old text is not there. Released migrations call this, so it stays as it is.
    """
    steps = "".join(
        f"""
        IF position($old${old}$old$ IN source) = 0 THEN RAISE EXCEPTION '{name} has another form: %', $old${old}$old$; END IF;
        source := replace(source, $old${old}$old$, $new${new}$new$);"""
        for old, new in changes
    )
    op.execute(
        f"""
        DO $do$
        DECLARE source text := pg_get_functiondef('{name}'::regproc);
        BEGIN {steps}
          EXECUTE source;
        END $do$
        """
    )
