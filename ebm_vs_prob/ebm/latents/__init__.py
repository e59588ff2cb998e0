"""Latent variables that are minimised or given a free energy, of limited capacity."""
