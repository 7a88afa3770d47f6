"""Check, split, convert and browse datasets."""
