"""Start page of the API, and its documentation as a page."""
