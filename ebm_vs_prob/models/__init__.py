"""What a fit returns, one interface for both families, and what it is made from."""
