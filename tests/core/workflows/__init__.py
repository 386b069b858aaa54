"""Parts of the workflows that need no server."""
