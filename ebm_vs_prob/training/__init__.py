"""The training loop and the contract of a method."""
