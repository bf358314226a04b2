"""Judges, towers and annotator of the miniature: trained on renders alone, shipped with the package."""
