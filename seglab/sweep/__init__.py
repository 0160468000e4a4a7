"""Many runs from one line: which jobs there are, what they came to, and who runs them."""
