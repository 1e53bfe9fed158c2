"""HTTP: the API, the pages, and the table of their routes."""
