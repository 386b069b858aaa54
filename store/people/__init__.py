"""People and accounts: identities, memberships, test clocks and locks."""
