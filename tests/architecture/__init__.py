"""The rules of the house, executed. Each rule is a function from sources to violations, and is shown to be able to fail."""
