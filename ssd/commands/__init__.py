"""The commands that build all parts from a config: train, test, demo. The scripts of these names call them."""
