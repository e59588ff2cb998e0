"""Energies as plain torch modules that know no task."""
