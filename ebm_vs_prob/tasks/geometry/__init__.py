"""Curves, surfaces and spheres blurred by noise: densities, projections and quadratures that tasks share."""
