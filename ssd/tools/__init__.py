"""Commands' tools around training: data, priors, reports, explanations, bulk prediction, installation checks."""
