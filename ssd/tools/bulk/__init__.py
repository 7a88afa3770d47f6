"""Detection in long lists of images by many processes or machines, in parts that can be resumed."""
