"""How well the priors of a config cover its training boxes, and priors that do so better."""
