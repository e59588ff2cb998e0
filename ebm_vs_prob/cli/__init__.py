"""The command line: `ebm-vs-prob`, or `python -m ebm_vs_prob.cli`."""
