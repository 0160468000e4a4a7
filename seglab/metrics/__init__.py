"""How good class maps and masks are, exactly."""
