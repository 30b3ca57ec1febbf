"""Pictures: between tensors and pixels and files (images), as films and sheets (animation), from folders (folders)."""
