"""Names and shapes on the wire between API, relay, workflows and activities."""
