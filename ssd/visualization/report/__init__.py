"""Pages of HTML with plots, tables and pictures, each one file that needs nothing else."""
