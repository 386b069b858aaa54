"""Links between a user id and an anonymous id of one event (U2)."""

from __future__ import annotations

from typing import Literal

IdentityLink = Literal["none", "create", "name_visitor", "name_user", "new_user", "merge"]


def link_of(user: object | None, visitor: object | None, *, visitor_is_user: bool) -> IdentityLink:
    """What an event means that names a user id and an anonymous id.

    `user` and `visitor` are the subjects that are known by these names; `visitor_is_user` says whether the visitor's has a user
    id already. Two known users are never merged: a device that another user takes over is a new user's from then on.
    """
    if user is None:
        if visitor is None:
            return "create"
        return "new_user" if visitor_is_user else "name_user"
    if visitor is None:
        return "name_visitor"
    return "none" if user == visitor or visitor_is_user else "merge"
