"""A synchronous grammar: sentences, their translations, and the chart of them."""
