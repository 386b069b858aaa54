"""Analytics libraries in browsers and apps: preflights, settings, metrics."""
