"""The Invert tab and its endpoint."""
