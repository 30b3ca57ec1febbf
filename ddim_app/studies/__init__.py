"""Tables that are made of many runs."""
