"""Analytics libraries in browsers and apps: request shapes, CORS, settings."""
