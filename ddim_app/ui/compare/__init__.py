"""The Compare tab and the endpoints /compare and /generate."""
