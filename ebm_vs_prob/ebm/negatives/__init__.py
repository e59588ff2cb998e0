"""Where the energy must be high: noise and the ends of chains."""
