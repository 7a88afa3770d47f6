"""Detection in lists of images that take many processes, machines or days: in parts, each a file that stays."""
