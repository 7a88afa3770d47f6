"""What an installation needs, looked at piece by piece. It works where PyTorch does not: nothing here imports it, and
what must be imported to be tried is tried in a process of its own."""
