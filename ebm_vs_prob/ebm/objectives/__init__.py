"""What training an unnormalised energy minimises: margins, contrasts, scores."""
