"""The ground floor: errors, options, registries, seeds, spaces, budgets, free energies and factor graphs."""
