"""HTTP to providers: checked addresses, bounded time and size, honest failures."""
