"""Models that read pictures: towers, detectors, vision-language models; by name, or the miniature's own."""
