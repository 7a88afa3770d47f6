"""Files of weights of any project, and models made from them."""
