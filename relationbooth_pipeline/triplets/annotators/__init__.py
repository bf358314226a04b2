"""Who finds boxes, masks, keypoints, words and likeness in pictures: each in one file, chosen by name."""
