"""Files for other tools, and theirs for ours."""
