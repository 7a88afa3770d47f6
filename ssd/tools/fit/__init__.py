"""Plan of a training on a folder of annotated images: the facts of the folder, and what follows from them."""
