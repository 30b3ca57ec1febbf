"""Networks with their schedules: where they are found, how they are loaded, how much memory they need."""
