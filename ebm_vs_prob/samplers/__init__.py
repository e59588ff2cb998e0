"""Samplers as pure kernels: `init(potential, y, step_size)` and `step(potential, state, noise, uniform, bounds)`."""
