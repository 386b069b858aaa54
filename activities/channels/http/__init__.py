"""Parts that channels over HTTP share: requests, access tokens and reply tables."""
