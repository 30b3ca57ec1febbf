"""Models: which there are (catalogue, hub), how one is loaded (loading), the last few (cache), what a call takes (memory)."""
