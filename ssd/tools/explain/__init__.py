"""Explanation of one image, step by step: priors, matches, negatives, candidates and detections."""
