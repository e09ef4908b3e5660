"""What of an answer somebody may see: which columns are sensitive, and what a statement does with them."""
