"""Custom components: each a Python module with its template, style and script beside it."""
