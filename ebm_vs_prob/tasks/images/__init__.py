"""Pictures that are rendered: bars, ellipses and a blob at a fork, and the integrals over what makes them."""
