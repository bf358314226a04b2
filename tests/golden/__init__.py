"""Compare the package with recorded reference vectors: `python -m tests.golden FOLDER`."""
