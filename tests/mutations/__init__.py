"""Wrong edits of the source, each with the test that must notice: `python -m tests.mutations [NAME …]`."""
