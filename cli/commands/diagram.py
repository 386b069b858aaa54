"""`python -m cli diagram`: a journey as a Mermaid state diagram."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.catalog_folder import journey_file, read_definition
from journeys.language.diagram import diagram


def command(
    journey: Annotated[str, typer.Argument(help="YAML file, or a key of the catalogue.")],
    here: Annotated[str | None, typer.Option(help="State to highlight.")] = None,
) -> None:
    """Draw a journey as a Mermaid diagram. GitHub, GitLab and most editors render it in a ```mermaid block."""
    definition = read_definition(journey_file(journey))
    if here is not None and here not in definition.states:
        raise typer.BadParameter(f"{here} is not a state of this journey: {', '.join(definition.states)}")
    typer.echo(diagram(definition, here), nl=False)
