"""Custom components: each a template, a style and a script, with the Python that fills them beside it or in its tab's `view`."""
