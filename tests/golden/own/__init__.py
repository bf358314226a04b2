"""Small cases of our own in the recorded vectors' format, from slow references in numpy that import nothing of ours."""
