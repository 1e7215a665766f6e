"""What a fit returns: the bound and its terms, the transformation, and what pictures need."""
