"""Fields of profiles and accounts: types, names and origins."""
