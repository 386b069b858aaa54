"""Published definitions and the registry that caches them."""
