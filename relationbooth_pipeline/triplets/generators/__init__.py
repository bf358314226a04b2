"""Who draws targets and the same objects alone: each in one file, chosen by name."""
