"""The Steps x eta tab."""
