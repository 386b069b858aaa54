"""The one way out over HTTP: to checked addresses only, bounded in time and size, honest about what may have arrived."""
