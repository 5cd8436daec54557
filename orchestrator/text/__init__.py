"""Values from strangers: read strictly, shown and logged safely."""
