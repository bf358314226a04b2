"""The embedded miniature: a procedural cartoon world and the programs that train an SDXL-shaped pipeline on it."""
