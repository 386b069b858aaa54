"""`python -m cli diagram`: a journey as a Mermaid state diagram, drawn from the model that runs."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.trial import journey_file, read_definition
from journeys.language.diagram import diagram


def command(
    journey: Annotated[str, typer.Argument(help="A YAML file, or a key of the catalogue.")],
    here: Annotated[str | None, typer.Option(help="A state to mark.")] = None,
) -> None:
    """Draw a journey, as Mermaid: GitHub, GitLab and most editors show it in a block of ```mermaid."""
    found = read_definition(journey_file(journey))
    if here is not None and here not in found.states:
        raise typer.BadParameter(f"{here} is not one of {', '.join(found.states)}")
    typer.echo(diagram(found, here), nl=False)
