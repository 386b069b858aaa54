"""Content of messages: template files, Liquid, markup, rendering, digests and tracked links."""
