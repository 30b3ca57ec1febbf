"""Pictures, films and folders of pictures."""
