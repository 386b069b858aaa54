"""Templates, Liquid, markup, rendering, tracked links and digests."""
