"""What a server on the internet needs around the page."""
