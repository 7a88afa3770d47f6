"""Checkpoints of other SSDs, one kind a file: how they are recognised, and what they are here."""
