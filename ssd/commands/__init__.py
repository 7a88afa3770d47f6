"""The commands train, test and demo, which the scripts of these names call too, and doctor; ssd.cli has the others."""
