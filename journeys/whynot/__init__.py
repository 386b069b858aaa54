"""Why-not: obstacles between a person and a message, and the changes that remove them."""
