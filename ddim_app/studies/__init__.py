"""Tables made of many runs: inversion errors, bounds of folders, speed of backends, visitors who share the device."""
