"""Commands that send events, and settle those that are held."""
