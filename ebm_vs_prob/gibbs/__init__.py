"""An energy read as a probability: Gibbs-Boltzmann densities, their normalisers and their temperature."""
