"""What training a normalised model minimises: likelihoods and their bounds."""
