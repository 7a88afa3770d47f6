"""What a detector makes of one image, step by step: priors, matches, negatives, and how a detection came to be."""
