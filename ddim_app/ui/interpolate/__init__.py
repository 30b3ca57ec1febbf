"""The Interpolate tab and its endpoint."""
